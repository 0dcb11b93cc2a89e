import { call } from "./call.ts";
import { type Command, text } from "./command.ts";
import { namespaceFlag } from "./flags.ts";

export const rm: Command = {
  name: "rm",
  summary: "remove functions; invocations that run are finished",
  usage: "rm [options] <name>…",
  words: { min: 1, max: Infinity },
  flags: namespaceFlag,
  async run({ connect, words, flags, output }) {
    await using connection = await connect();
    for (const name of words) {
      const path = `/v1/functions/${encodeURIComponent(name)}`;
      await (await call(connection, "DELETE", path, { query: { namespace: text(flags, "namespace") } })).body?.cancel();
      output.line(name);
    }
    return 0;
  },
};
