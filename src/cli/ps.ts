import { result } from "./answer.ts";
import type { Command } from "./command.ts";
import { namespaceFlag, scope } from "./flags.ts";
import { ago, bytes, table } from "./output.ts";

export const ps: Command = {
  name: "ps",
  summary: "list the containers that run now",
  usage: "ps [options]",
  flags: namespaceFlag,
  async run({ connect, flags, output }) {
    await using connection = await connect();
    const { items } = await result(connection.api.v1.tasks.$get({ query: scope(flags) }));
    table(
      output,
      ["id", "function", "image", "pid", "status", "memory", "started"],
      items.map((item) => [
        item.id,
        item.function ?? "-",
        item.image ?? "-",
        String(item.pid ?? "-"),
        item.status,
        bytes(item.stats?.memoryBytes),
        item.startedAt === undefined ? "-" : ago(item.startedAt),
      ]),
      items,
    );
    return 0;
  },
};
