import { result } from "./answer.ts";
import type { Command } from "./command.ts";
import { ago, table } from "./output.ts";

export const namespaces: Command = {
  name: "namespaces",
  summary: "list the namespaces",
  usage: "namespaces [options]",
  async run({ connect, output }) {
    await using connection = await connect();
    const { items } = await result(connection.api.v1.namespaces.$get());
    table(output, ["name", "created"], items.map((item) => [item.name, ago(item.createdAt)]), items);
    return 0;
  },
};
