import { jsonLines, result, succeeded } from "./answer.ts";
import * as v from "valibot";
import { parse } from "../core/parse.ts";
import type { Command } from "./command.ts";
import { namespaceFlag, scope } from "./flags.ts";
import { ofContainer } from "./named.ts";
import { bytes, type Output } from "./output.ts";

const count = v.optional(v.nullable(v.number()));
const LineSchema = v.looseObject({
  at: v.string(),
  cpuMicros: count,
  memoryBytes: count,
  memoryPeakBytes: count,
  pids: count,
  ioReadBytes: count,
  ioWriteBytes: count,
});
type Line = v.InferOutput<typeof LineSchema>;

export const stats: Command = {
  name: "stats",
  summary: "show what containers use, a line each second",
  usage: "stats [options] [<container>…]",
  examples: ["mayfly stats", "mayfly stats --no-stream web", "mayfly stats --json web"],
  words: { min: 0, max: Infinity },
  flags: { ...namespaceFlag, "no-stream": { type: "boolean", help: "one line each, and no more" } },
  async run({ connect, words, flags, output }) {
    await using connection = await connect();
    const { api } = connection;
    const names = words.length > 0
      ? words
      : (await result(api.v1.containers.$get({ query: scope(flags) }))).items.map(({ name, id }) => name ?? id);
    const once = flags["no-stream"] === true;
    const streams = await Promise.all(
      names.map(async (name) => {
        const answer = await succeeded(api.v1.containers[":id"].stats.stream.$get(ofContainer(name, flags)));
        return { name, lines: jsonLines(answer) };
      }),
    );
    if (!output.json) output.line(row(["name", "cpu", "memory", "peak", "pids", "read", "written"]));
    await Promise.all(streams.map(({ name, lines }) => follow(output, name, lines, once)));
    return 0;
  },
};

/** The first line tells no use of processors yet: that is between two of them. */
async function follow(output: Output, name: string, lines: AsyncIterable<unknown>, once: boolean): Promise<void> {
  let before: Line | undefined;
  for await (const value of lines) {
    const line = parse(LineSchema, value, "cannot read the daemon's answer");
    if (output.json) output.line(JSON.stringify({ name, ...line }));
    else output.line(row([name, cpu(before, line), ...figures(line)]));
    if (once) return;
    before = line;
  }
}

function figures(line: Line): string[] {
  const { memoryBytes, memoryPeakBytes, pids, ioReadBytes, ioWriteBytes } = line;
  return [bytes(memoryBytes), bytes(memoryPeakBytes), String(pids ?? "-"), bytes(ioReadBytes), bytes(ioWriteBytes)];
}

/** In hundredths of one processor. */
function cpu(before: Line | undefined, line: Line): string {
  if (typeof before?.cpuMicros !== "number" || typeof line.cpuMicros !== "number") return "-";
  const elapsedMicros = (Date.parse(line.at) - Date.parse(before.at)) * 1000;
  return elapsedMicros > 0 ? `${((line.cpuMicros - before.cpuMicros) / elapsedMicros * 100).toFixed(1)}%` : "-";
}

function row(cells: readonly string[]): string {
  const [first = "", ...rest] = cells;
  return `${first.padEnd(24)} ${rest.map((cell) => cell.padStart(10)).join(" ")}`;
}
