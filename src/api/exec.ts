import { Hono } from "hono";
import * as v from "valibot";
import { Failure, passOverEnded } from "../core/errors.ts";
import { parse } from "../core/parse.ts";
import type { Process, Task } from "../core/task.ts";
import { killSoon } from "../tasks/kill_soon.ts";
import type { Tasks } from "../tasks/tasks.ts";
import { WaitingInput } from "../tasks/waiting_input.ts";
import type { Bindings } from "./client_address.ts";
import { documented } from "./documented.ts";
import { namespaceField, query } from "./input.ts";
import type { ApiParts } from "./parts.ts";
import { ProcessSocket, readJson, upgradeOf } from "./process_socket.ts";

/** What the client's first message says beside the process itself. */
const ProcessSchema = v.looseObject({ stdin: v.optional(v.boolean(), false) });

/**
 * `GET /v1/containers/{id}/exec`, a WebSocket: one more process in a container. The client's first message, of channel
 * `process`, says which: what `ExecInputSchema` has, and `stdin` where it has input. A client that says goodbye (1000)
 * leaves the process to itself; one that breaks off has it killed.
 */
export function execRoutes({ containers, tasks }: ApiParts) {
  return new Hono<{ Bindings: Bindings }>().get(
    "/:id/exec",
    documented("Runs one more process in a container, over a WebSocket.", { 101: null }, {
      problems: ["failed_precondition", "unimplemented"],
    }),
    query(v.strictObject({ namespace: namespaceField })),
    async (c) => {
      const { namespace } = c.req.valid("query");
      const upgrade = upgradeOf(c);
      const { task } = await containers.live(namespace, c.req.param("id"), "run a process in");
      return upgrade(async (connection) => {
        const socket = new ProcessSocket(connection);
        const added = await start(socket, tasks, namespace, task).catch((error) =>
          socket.finish(Promise.reject(error))
        );
        if (added !== undefined) await carry(socket, added, tasks.output(task, added));
      });
    },
  );
}

/** Reads the first message and does what it says. @returns undefined where the client has gone before. */
async function start(socket: ProcessSocket, tasks: Tasks, namespace: string, task: Task): Promise<Process | undefined> {
  const first = await socket.next();
  if (first === undefined) return undefined;
  if (first.channel !== "process") {
    throw new Failure("invalid_argument", "cannot run a process: the first message has to be of channel process");
  }
  const { stdin, ...settings } = parse(ProcessSchema, readJson(first.payload), "cannot run a process");
  return await tasks.exec(namespace, task.id, settings, { stdin });
}

/** Carries a process's streams and sees it to its end, whatever becomes of the client. */
async function carry(
  socket: ProcessSocket,
  added: Process,
  { stdout, stderr }: Pick<Process, "stdout" | "stderr">,
): Promise<void> {
  void socket.connection.closed.then(({ code }) => code === 1006 ? killSoon(added) : undefined);
  const all = async (channel: "stdout" | "stderr", stream: ReadableStream<Uint8Array> | undefined) => {
    // Of a client that is gone, it is taken all the same: the process must not wait for nobody.
    for await (const chunk of stream ?? []) await socket.output(channel, chunk);
  };
  const ended = (async () => {
    try {
      const [{ code }] = await Promise.all([added.wait(), all("stdout", stdout), all("stderr", stderr)]);
      return { code };
    } finally {
      await added.delete();
    }
  })();
  await Promise.all([
    socket.finish(ended),
    socket.takeInput({
      stdin: added.stdin && new WaitingInput(added.stdin),
      resize: async (size) => {
        await added.resize?.(size).catch(passOverEnded);
      },
    }),
  ]);
}
