import type { FunctionRecord } from "../core/function.ts";
import { callList } from "./call.ts";
import { type Command, text } from "./command.ts";
import { namespaceFlag } from "./flags.ts";
import { ago, bytes, table } from "./output.ts";

export const functions: Command = {
  name: "functions",
  summary: "list the functions",
  usage: "functions [options]",
  flags: namespaceFlag,
  async run({ connect, flags, output }) {
    await using connection = await connect();
    const items = await callList<FunctionRecord>(connection, "/v1/functions", {
      query: { namespace: text(flags, "namespace") },
    });
    table(
      output,
      ["name", "image", "revision", "memory", "timeout", "deployed"],
      items.map((item) => [
        item.name,
        item.image,
        String(item.revision),
        bytes(item.memoryBytes),
        `${item.timeoutMs / 1000}s`,
        ago(item.updatedAt),
      ]),
      items,
    );
    return 0;
  },
};
