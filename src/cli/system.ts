import { result } from "./answer.ts";
import type { Command } from "./command.ts";
import { bytes, table } from "./output.ts";
import { subcommand } from "./subcommand.ts";

export const system: Command = {
  name: "system",
  summary: "say what takes how much of the state folder",
  usage: "system df",
  words: { min: 1, max: 1 },
  async run({ connect, words: [word], output }) {
    subcommand("system", word, ["df"]);
    await using connection = await connect();
    const report = await result(connection.api.v1.system.df.$get());
    table(
      output,
      ["kind", "path", "count", "size", "reclaimable"],
      [
        ...report.parts.map((part) => [
          part.kind,
          part.path,
          String(part.count),
          bytes(part.bytes),
          bytes(part.reclaimableBytes),
        ]),
        ["total", report.root, "", bytes(report.totalBytes), ""],
      ],
      [report],
    );
    return 0;
  },
};
