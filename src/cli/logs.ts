import { result } from "./answer.ts";
import { type Command, text } from "./command.ts";
import { namespaceFlag, scope } from "./flags.ts";
import { printable } from "./output.ts";

export const logs: Command = {
  name: "logs",
  summary: "show a function's last invocations: outcome, time, the end of stderr",
  usage: "logs [options] <name>",
  words: { min: 1, max: 1 },
  flags: { ...namespaceFlag, tail: { type: "string", value: "count", help: "how many invocations (default 20)" } },
  async run({ connect, words: [name = ""], flags, output }) {
    await using connection = await connect();
    const { items } = await result(connection.api.v1.functions[":name"].logs.$get({
      param: { name: encodeURIComponent(name) },
      query: { ...scope(flags), limit: text(flags, "tail") ?? "20" },
    }));
    if (output.json) output.line(JSON.stringify(items, undefined, 2));
    else {
      for (const item of [...items].reverse()) {
        const time = item.durationMs === undefined ? "" : ` in ${item.durationMs.toFixed(1)} ms`;
        output.line(
          `${item.startedAt}  ${item.id}  ${item.status}${item.exitCode ? ` (${item.exitCode})` : ""}${time}`,
        );
        if (item.error) output.line(`    ${printable(item.error)}`);
        for (const line of item.stderr?.trimEnd().split("\n") ?? []) {
          if (line !== "") output.line(`    ${printable(line)}`);
        }
      }
    }
    return 0;
  },
};
