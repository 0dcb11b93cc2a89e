import { Failure } from "../core/errors.ts";
import { result } from "./answer.ts";
import { attached, detached, jsonMessage } from "./attached.ts";
import { attachFlags, detachKeysOf, socketPath } from "./attach.ts";
import { type Command, text, texts } from "./command.ts";
import { namespaceFlag, pairs } from "./flags.ts";
import { requireTerminal, terminalSize } from "./keyboard.ts";
import { ofContainer } from "./named.ts";

export const exec: Command = {
  name: "exec",
  summary: "run one more process in a container; its exit code becomes this command's",
  usage: "exec [options] <container> <command> [argument…]",
  examples: ["mayfly exec -it web sh", "mayfly exec web cat /etc/hosts", "tar c . | mayfly exec -i web tar x -C /srv"],
  words: { min: 2, max: Infinity },
  passesRest: true,
  flags: {
    ...namespaceFlag,
    interactive: { type: "boolean", short: "i", help: "give it this command's standard input" },
    tty: { type: "boolean", short: "t", help: "give it a terminal" },
    detach: { type: "boolean", short: "d", help: "leave it to itself; its output goes nowhere" },
    env: { type: "string", short: "e", multiple: true, value: "NAME=value", help: "environment; may be given often" },
    user: { type: "string", short: "u", value: "user", help: "uid, uid:gid or a name that the container knows" },
    workdir: { type: "string", short: "w", value: "path", help: "in place of the container's" },
    ...attachFlags,
  },
  async run({ connect, host, words: [id = "", ...command], flags, output }) {
    const tty = flags["tty"] === true;
    const stdin = flags["interactive"] === true;
    if (tty && stdin) requireTerminal("-it");
    const process = {
      command,
      env: pairs("env", texts(flags, "env")),
      user: text(flags, "user"),
      workdir: text(flags, "workdir"),
      tty,
    };
    await using connection = await connect();
    const { id: taskId } = await result(connection.api.v1.containers[":id"].$get(ofContainer(id, flags)));
    if (flags["detach"] === true) {
      if (stdin) throw new Failure("invalid_argument", "mayfly exec: -d and -i exclude each other");
      const made = await result(
        connection.api.v1.tasks[":id"].processes.$post({ ...ofContainer(taskId, flags), json: process }),
      );
      output.line(output.json ? JSON.stringify(made, undefined, 2) : made.id);
      return 0;
    }
    const socket = await connection.open(socketPath(id, "exec", flags));
    const status = await attached(socket, {
      host,
      output,
      tty,
      stdin,
      detachKeys: detachKeysOf(flags, connection),
      first: [jsonMessage("process", { ...process, stdin, size: tty ? terminalSize() : undefined })],
    });
    return status === detached ? 0 : status;
  },
};
