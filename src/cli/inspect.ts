import { result } from "./answer.ts";
import type { Command } from "./command.ts";
import { namespaceFlag } from "./flags.ts";
import { ofContainer } from "./named.ts";

export const inspect: Command = {
  name: "inspect",
  summary: "show all that is known of containers, as JSON",
  usage: "inspect [options] <container>…",
  examples: ["mayfly inspect web | jq '.[0].settings'"],
  words: { min: 1, max: Infinity },
  flags: namespaceFlag,
  async run({ connect, words, flags, output }) {
    await using connection = await connect();
    const found = [];
    for (const id of words) found.push(await result(connection.api.v1.containers[":id"].$get(ofContainer(id, flags))));
    output.line(JSON.stringify(found, undefined, 2));
    return 0;
  },
};
