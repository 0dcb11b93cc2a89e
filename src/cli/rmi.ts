import { done } from "./answer.ts";
import type { Command } from "./command.ts";
import { namespaceFlag, scope } from "./flags.ts";

export const rmi: Command = {
  name: "rmi",
  summary: "remove images; what nothing else uses of them is freed",
  usage: "rmi [options] <reference>…",
  words: { min: 1, max: Infinity },
  flags: namespaceFlag,
  async run({ connect, words, flags, output }) {
    await using connection = await connect();
    for (const name of words) {
      await done(connection.api.v1.images.$delete({ query: { ...scope(flags), name } }));
      output.line(name);
    }
    return 0;
  },
};
