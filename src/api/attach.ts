import { Hono } from "hono";
import * as v from "valibot";
import { passOverEnded } from "../core/errors.ts";
import { TerminalSizeSchema } from "../core/exec.ts";
import { can } from "../core/task.ts";
import type { Containers } from "../tasks/containers.ts";
import type { LiveContainer } from "../tasks/live_container.ts";
import type { Bindings } from "./client_address.ts";
import { documented } from "./documented.ts";
import { flagField, namespaceField, query } from "./input.ts";
import type { ApiParts } from "./parts.ts";
import { type Inputs, ProcessSocket, upgradeOf } from "./process_socket.ts";

const input = v.strictObject({
  namespace: namespaceField,
  /** Starts it, so that nothing of its output is missed. */
  start: flagField,
  /** `{"width":80,"height":24}` */
  size: v.optional(v.pipe(v.string(), v.maxLength(64), v.parseJson(), TerminalSizeSchema)),
});

/**
 * `GET /v1/containers/{id}/attach`, a WebSocket: a container's streams, from here on. Any number may be attached at once; the
 * container goes no faster than the slowest of them. The last message tells how it ended; a client that goes leaves it
 * alone.
 */
export function attachRoutes({ containers }: ApiParts) {
  return new Hono<{ Bindings: Bindings }>().get(
    "/:id/attach",
    documented("Attaches to a container's streams, over a WebSocket.", { 101: null }, {
      problems: ["failed_precondition"],
    }),
    query(input),
    async (c) => {
      const { namespace, start, size } = c.req.valid("query");
      const upgrade = upgradeOf(c);
      const { id } = await containers.get(namespace, c.req.param("id"));
      if (start) {
        return upgrade((connection) =>
          startAttached(new ProcessSocket(connection), containers, { namespace, id, size })
        );
      }
      const live = await containers.live(namespace, id);
      return upgrade(async (connection) => {
        const socket = new ProcessSocket(connection);
        const stop = listen(socket, live);
        await Promise.all([socket.takeInput(inputsOf(live)), untilEnd(socket, live)]).finally(stop);
      });
    },
  );
}

interface Started {
  readonly namespace: string;
  readonly id: string;
  readonly size: Parameters<Inputs["resize"]>[0] | undefined;
}

/** Starts a container with a client attached to it from the first byte on. */
async function startAttached(socket: ProcessSocket, containers: Containers, { namespace, id, size }: Started) {
  let live: LiveContainer | undefined;
  let stop = () => {};
  try {
    await containers.start(namespace, id, {
      attach(started) {
        live = started;
        stop = listen(socket, started);
        if (size !== undefined) void inputsOf(started).resize(size);
      },
    });
  } catch (error) {
    stop();
    return await socket.finish(Promise.reject(error));
  }
  if (live !== undefined) {
    await Promise.all([socket.takeInput(inputsOf(live)), untilEnd(socket, live)]).finally(stop);
  }
}

/** Sends a container's output to a client. @returns the way to stop. */
function listen(socket: ProcessSocket, live: LiveContainer): () => void {
  // Of one that has ended, only what it left is to come: nobody waits for a client with that.
  const ended = live.task.wait().then(() => {}, () => {});
  const stop = live.listen((channel, chunk) => Promise.race([socket.output(channel, chunk), ended]));
  void socket.connection.closed.then(stop);
  return stop;
}

/** Tells a client how a container ended, unless the client goes first. */
async function untilEnd(socket: ProcessSocket, live: LiveContainer): Promise<void> {
  const ended = live.ended.then(({ exitCode: code, oomKilled = false }) => ({ code, oomKilled }));
  if (await Promise.race([ended, socket.connection.closed.then(() => undefined)]) === undefined) return;
  await socket.finish(ended);
}

function inputsOf(live: LiveContainer): Inputs {
  const { task } = live;
  return {
    stdin: live.input,
    // Without a terminal, or after the end, there is nothing to resize, and no harm in asking.
    resize: async (size) => {
      if (can(task, "resize")) await task.resize(size).catch(passOverEnded);
    },
  };
}
