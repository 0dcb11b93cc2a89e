import { Hono } from "hono";
import * as v from "valibot";
import { type Channel, encodeFrame, frameType } from "../core/stdio_frames.ts";
import type { Task } from "../core/task.ts";
import { problemOf } from "./errors.ts";
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
export function runRoutes({ functions, tasks }: ApiParts) {
  return new Hono().post("/", query(input), async (c) => {
    const { namespace, settings } = c.req.valid("query");
    const { body, signal } = c.req.raw;
    const { readable, writable } = new TransformStream<Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>>();
    const writer = writable.getWriter();
    const gone = new AbortController();
    // Nobody reads any more: the container has nobody to run for.
    writer.closed.catch(() => gone.abort());
    const write: Write = (channel, payload) => writer.write(encodeFrame(channel, payload));
    let carried: Promise<unknown> = Promise.resolve();
    const run = await functions.run(namespace, settings, {
      stdin: body !== null,
      signal: AbortSignal.any([signal, gone.signal]),
      attach: (task) => {
        carried = carry({ stdin: task.stdin, ...tasks.output(task) }, body, write);
        // Read below, unless the start fails, which says why itself.
        carried.catch(() => {});
      },
    });
    Promise.all([run.done, carried])
      .then(
        ([exit]) => ({ exit: { code: exit.code, oomKilled: exit.oomKilled } }),
        (error) => ({ error: problemOf(error) }),
      )
      .then((result) => write("result", new TextEncoder().encode(JSON.stringify(result))))
      .then(() => writer.close())
      .catch((error) => writer.abort(error));
    return new Response(readable, { headers: { "content-type": frameType } });
  });
}

type Streams = Pick<Task, "stdin" | "stdout" | "stderr">;
type Write = (channel: Channel, payload: Uint8Array) => Promise<void>;

/** Carries the three streams to their ends. */
async function carry(task: Streams, body: ReadableStream<Uint8Array> | null, write: Write): Promise<void> {
  // A container may end without having read all of its input.
  if (body !== null && task.stdin !== undefined) body.pipeTo(task.stdin).catch(() => {});
  const all = async (channel: Channel, stream: ReadableStream<Uint8Array> | undefined) => {
    for await (const chunk of stream ?? []) await write(channel, chunk);
  };
  await Promise.all([all("stdout", task.stdout), all("stderr", task.stderr)]);
}
