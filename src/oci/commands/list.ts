import { codeOf, Failure } from "../../core/errors.ts";
import { isSet, text } from "../arguments.ts";
import { type OciCommand, say } from "../command.ts";
import { stateDocument } from "../document.ts";
import type { StateStore } from "../state_store.ts";

export const list: OciCommand = {
  name: "list",
  summary: "list the containers",
  usage: "list [options]",
  flags: {
    format: { type: "text", short: "f", help: "table (default) or json" },
    quiet: { type: "boolean", short: "q", help: "ids alone" },
  },
  words: { min: 0, max: 0 },
  async run(context) {
    const rows = documents(context.store);
    const format = text(context, "format") ?? "table";
    if (isSet(context, "quiet")) {
      if (rows.length > 0) say(rows.map(({ id }) => id).join("\n"));
    } else if (format === "json") say(JSON.stringify(rows));
    else if (format === "table") {
      const table = [
        ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"],
        ...rows.map((row) => [row.id, String(row.pid), row.status, row.bundle, row.created, row.owner]),
      ];
      say(aligned(table));
    } else throw new Failure("invalid_argument", `--format is ${JSON.stringify(format)}, wanted table or json`);
    return 0;
  },
};

function documents(store: StateStore) {
  return store.ids().flatMap((id) => {
    try {
      return [stateDocument(store.load(id))];
    } catch (error) {
      // It is being made, or has been deleted in between.
      if (codeOf(error) === "not_found") return [];
      throw error;
    }
  });
}

function aligned(table: readonly (readonly string[])[]): string {
  const widths = table[0]?.map((_, column) => Math.max(...table.map((row) => row[column]?.length ?? 0))) ?? [];
  return table.map((row) => row.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join("   ").trimEnd()).join("\n");
}
