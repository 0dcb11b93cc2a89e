import { result } from "./answer.ts";
import { attached, detached, jsonMessage } from "./attached.ts";
import { type Command, type Flag, type FlagValues, text } from "./command.ts";
import type { Connection } from "./connection.ts";
import { defaultDetachKeys, parseDetachKeys } from "./detach_keys.ts";
import { namespaceFlag } from "./flags.ts";
import { requireTerminal, terminalSize } from "./keyboard.ts";
import { ofContainer } from "./named.ts";

/** For commands that give a terminal. */
export const attachFlags: Readonly<Record<string, Flag>> = {
  "detach-keys": {
    type: "string",
    value: "keys",
    help: `leave it running with these keys (default ${defaultDetachKeys})`,
  },
};

/** The keys that leave; none where the daemon, and the container with it, ends with this command. */
export function detachKeysOf(flags: FlagValues, { own }: Pick<Connection, "own">): readonly number[] | undefined {
  const keys = parseDetachKeys(text(flags, "detach-keys") ?? defaultDetachKeys);
  return own ? undefined : keys;
}

/** The path of a container's WebSocket. */
export function attachPath(
  id: string,
  flags: FlagValues,
  { size, ...more }: { readonly start?: string; readonly size?: unknown } = {},
): string {
  return socketPath(id, "attach", flags, { ...more, ...(size === undefined ? {} : { size: JSON.stringify(size) }) });
}

/** @param verb `attach` or `exec`. */
export function socketPath(id: string, verb: string, flags: FlagValues, query: Readonly<Record<string, string>> = {}) {
  const namespace = text(flags, "namespace");
  const all = new URLSearchParams({ ...query, ...(namespace === undefined ? {} : { namespace }) });
  return `/v1/containers/${encodeURIComponent(id)}/${verb}?${all}`;
}

export const attach: Command = {
  name: "attach",
  summary: "take up the terminal, or the streams, of a container that runs",
  usage: "attach [options] <container>",
  examples: ["mayfly attach shell", "mayfly attach --no-stdin web"],
  words: { min: 1, max: 1 },
  flags: {
    ...namespaceFlag,
    "no-stdin": { type: "boolean", help: "do not give it this command's standard input" },
    ...attachFlags,
  },
  async run({ connect, host, words: [id = ""], flags, output }) {
    await using connection = await connect();
    const { settings } = await result(connection.api.v1.containers[":id"].$get(ofContainer(id, flags)));
    const stdin = settings.stdinOpen && flags["no-stdin"] !== true;
    if (settings.tty && stdin) requireTerminal("attach to a terminal (or --no-stdin)");
    const socket = await connection.open(attachPath(id, flags));
    const size = settings.tty ? terminalSize() : undefined;
    const status = await attached(socket, {
      host,
      output,
      tty: settings.tty,
      stdin,
      detachKeys: detachKeysOf(flags, connection),
      first: size === undefined ? [] : [jsonMessage("resize", size)],
    });
    return status === detached ? 0 : status;
  },
};
