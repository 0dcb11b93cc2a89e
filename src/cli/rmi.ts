import { call } from "./call.ts";
import { type Command, text } from "./command.ts";
import { namespaceFlag } from "./flags.ts";

export const rmi: Command = {
  name: "rmi",
  summary: "remove images; what nothing else uses of them is freed",
  usage: "rmi [options] <reference>…",
  words: { min: 1, max: Infinity },
  flags: namespaceFlag,
  async run({ connect, words, flags, output }) {
    await using connection = await connect();
    for (const name of words) {
      await (await call(connection, "DELETE", "/v1/images", { query: { namespace: text(flags, "namespace"), name } }))
        .body?.cancel();
      output.line(name);
    }
    return 0;
  },
};
