import { result } from "./answer.ts";
import type { Command } from "./command.ts";
import { namespaceFlag, scope } from "./flags.ts";
import { ago, bytes, table } from "./output.ts";
import { answersAll, splitText } from "./traffic_text.ts";

export const functions: Command = {
  name: "functions",
  summary: "list the functions",
  usage: "functions [options]",
  flags: namespaceFlag,
  async run({ connect, flags, output }) {
    await using connection = await connect();
    const { items } = await result(connection.api.v1.functions.$get({ query: scope(flags) }));
    table(
      output,
      ["name", "image", "revision", "memory", "timeout", "deployed", "traffic"],
      items.map((item) => [
        item.name,
        item.image,
        String(item.revision),
        bytes(item.memoryBytes),
        `${item.timeoutMs / 1000}s`,
        ago(item.updatedAt),
        answersAll(item) ? "latest" : splitText(item.traffic),
      ]),
      items,
    );
    return 0;
  },
};
