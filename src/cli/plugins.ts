import { result } from "./answer.ts";
import type { Command } from "./command.ts";
import { table } from "./output.ts";

export const plugins: Command = {
  name: "plugins",
  summary: "list the plugins, their state, and why one does not run",
  usage: "plugins [options]",
  async run({ connect, output }) {
    await using connection = await connect();
    const { items } = await result(connection.api.v1.plugins.$get());
    table(
      output,
      ["kind", "id", "source", "state", "reason"],
      items.map((item) => [item.kind, item.id, item.source, item.state, item.reason ?? ""]),
      items,
    );
    return 0;
  },
};
