import { done } from "./answer.ts";
import type { Command } from "./command.ts";
import { namespaceFlag, scope } from "./flags.ts";

export const rm: Command = {
  name: "rm",
  summary: "remove functions; invocations that run are finished",
  usage: "rm [options] <name>…",
  words: { min: 1, max: Infinity },
  flags: namespaceFlag,
  async run({ connect, words, flags, output }) {
    await using connection = await connect();
    for (const name of words) {
      const param = { name: encodeURIComponent(name) };
      await done(connection.api.v1.functions[":name"].$delete({ param, query: scope(flags) }));
      output.line(name);
    }
    return 0;
  },
};
