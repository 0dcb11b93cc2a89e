import { result } from "./answer.ts";
import type { Command } from "./command.ts";
import { namespaceFlag } from "./flags.ts";
import { ofContainer } from "./named.ts";
import { printable } from "./output.ts";

export const diff: Command = {
  name: "diff",
  summary: "list what a container added (A), changed (C) and deleted (D)",
  usage: "diff [options] <container>",
  examples: ["mayfly diff web"],
  words: { min: 1, max: 1 },
  flags: namespaceFlag,
  async run({ connect, words: [id = ""], flags, output }) {
    await using connection = await connect();
    const { items } = await result(connection.api.v1.containers[":id"].changes.$get(ofContainer(id, flags)));
    if (output.json) output.line(JSON.stringify(items, undefined, 2));
    else for (const { kind, path } of items) output.line(`${kind.charAt(0).toUpperCase()} ${printable(path)}`);
    return 0;
  },
};
