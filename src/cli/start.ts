import { Failure } from "../core/errors.ts";
import { done, result } from "./answer.ts";
import { attached, detached } from "./attached.ts";
import { attachFlags, attachPath, detachKeysOf } from "./attach.ts";
import type { Command } from "./command.ts";
import { each } from "./each.ts";
import { namespaceFlag } from "./flags.ts";
import { requireTerminal, terminalSize } from "./keyboard.ts";
import { ofContainer } from "./named.ts";
import { requireDaemon } from "./require_daemon.ts";

export const start: Command = {
  name: "start",
  summary: "run containers that were made before",
  usage: "start [options] <container>…",
  examples: ["mayfly start web", "mayfly start -ai shell"],
  words: { min: 1, max: Infinity },
  flags: {
    ...namespaceFlag,
    attach: { type: "boolean", short: "a", help: "show its output; its exit code becomes this command's" },
    interactive: { type: "boolean", short: "i", help: "and give it this command's standard input" },
    ...attachFlags,
  },
  async run(context) {
    const { connect, host, words: [id = "", ...more], flags, output } = context;
    const stdin = flags["interactive"] === true;
    if (flags["attach"] !== true && !stdin) {
      return await each(context, (connection, each) => {
        requireDaemon(connection, "start");
        return done(connection.api.v1.containers[":id"].start.$post(ofContainer(each, flags)));
      });
    }
    if (more.length > 0) throw new Failure("invalid_argument", "mayfly start: one container alone can be attached to");
    await using connection = await connect();
    const { settings: { tty } } = await result(connection.api.v1.containers[":id"].$get(ofContainer(id, flags)));
    if (tty && stdin) requireTerminal("-i with a container that has a terminal");
    const socket = await connection.open(
      attachPath(id, flags, { start: "true", size: tty ? terminalSize() : undefined }),
    );
    const status = await attached(socket, { host, output, tty, stdin, detachKeys: detachKeysOf(flags, connection) });
    return status === detached ? 0 : status;
  },
};
