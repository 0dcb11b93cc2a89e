import { Hono } from "hono";
import * as v from "valibot";
import { codeOf, Failure } from "../core/errors.ts";
import { type Channel, encodeFrame, frameType } from "../core/stdio_frames.ts";
import type { ContainerRun } from "../tasks/container_run.ts";
import { namespaceField, query } from "./input.ts";
import type { ApiParts } from "./parts.ts";

/** The settings are in the query, since the body is the container's stdin. */
const input = v.strictObject({
  namespace: namespaceField,
  settings: v.pipe(v.string(), v.maxLength(256 * 1024), v.parseJson()),
});

/**
 * `/v1/run`: runs a container once. Body → stdin; stdout, stderr and the result come back as frames.
 * @see ../core/stdio_frames.ts
 */
export function runRoutes({ functions }: ApiParts) {
  return new Hono().post("/", query(input), async (c) => {
    const { namespace, settings } = c.req.valid("query");
    const { body, signal } = c.req.raw;
    const gone = new AbortController();
    const run = await functions.run(namespace, settings, {
      stdin: body !== null,
      signal: AbortSignal.any([signal, gone.signal]),
    });
    return new Response(frames(run, body, () => gone.abort()), { headers: { "content-type": frameType } });
  });
}

function frames(
  run: ContainerRun,
  body: ReadableStream<Uint8Array> | null,
  kill: () => void,
): ReadableStream<Uint8Array<ArrayBuffer>> {
  const { readable, writable } = new TransformStream<Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>>();
  const writer = writable.getWriter();
  // Nobody reads any more: the container has nobody to run for.
  writer.closed.catch(kill);
  carry(run, body, (channel, payload) => writer.write(encodeFrame(channel, payload)))
    .then((result) => writer.write(encodeFrame("result", new TextEncoder().encode(JSON.stringify(result)))))
    .then(() => writer.close())
    .catch((error) => writer.abort(error));
  return readable;
}

/** Carries the three streams until the container has ended. @returns how it did. */
async function carry(
  { task, done }: ContainerRun,
  body: ReadableStream<Uint8Array> | null,
  write: (channel: Channel, payload: Uint8Array) => Promise<void>,
): Promise<unknown> {
  // A container may end without having read all of its input.
  if (body !== null && task.stdin !== undefined) body.pipeTo(task.stdin).catch(() => {});
  const all = async (channel: Channel, stream: ReadableStream<Uint8Array> | undefined) => {
    for await (const chunk of stream ?? []) await write(channel, chunk);
  };
  try {
    const [exit] = await Promise.all([done, all("stdout", task.stdout), all("stderr", task.stderr)]);
    return { exit: { code: exit.code, oomKilled: exit.oomKilled } };
  } catch (error) {
    return { error: { code: codeOf(error), message: error instanceof Failure ? error.message : "unexpected error" } };
  }
}
