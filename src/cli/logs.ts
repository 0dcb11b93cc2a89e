import { Failure } from "../core/errors.ts";
import { decodeFrames, frameType } from "../core/stdio_frames.ts";
import { result, succeeded } from "./answer.ts";
import { type Command, type CommandContext, text } from "./command.ts";
import type { Connection } from "./connection.ts";
import { milliseconds, namespaceFlag, scope } from "./flags.ts";
import { kindFlags, kindOf, ofContainer } from "./named.ts";
import { printable } from "./output.ts";

export const logs: Command = {
  name: "logs",
  summary: "show a container's output, or a function's last invocations; the name says by itself which it is",
  usage: "logs [options] <name>",
  examples: [
    "mayfly logs -f --tail 100 web            # a container: what it wrote, as it wrote it",
    "mayfly logs --since 10m -t web",
    "mayfly logs upper                        # a function: outcome, time, the end of stderr of each invocation",
  ],
  words: { min: 1, max: 1 },
  flags: {
    ...namespaceFlag,
    follow: { type: "boolean", short: "f", help: "go on while it runs" },
    tail: {
      type: "string",
      value: "count",
      help: "the last lines (default all), or how many invocations (default 20)",
    },
    since: { type: "string", value: "time", help: "from then on: 2026-01-31T12:00:00Z, or 10m for ten minutes ago" },
    until: { type: "string", value: "time", help: "up to then" },
    timestamps: { type: "boolean", short: "t", help: "each line begins with its time" },
    ...kindFlags,
  },
  async run(context) {
    await using connection = await context.connect();
    const { words: [name = ""], flags } = context;
    if (await kindOf(connection, name, flags) === "container") return await ofOutput(context, connection, name);
    const wrong = ["follow", "since", "until", "timestamps"].find((flag) => flags[flag] !== undefined);
    if (wrong === undefined) return await ofInvocations(context, connection, name);
    throw new Failure(
      "invalid_argument",
      `mayfly logs: --${wrong} is for containers, and ${JSON.stringify(name)} is a function`,
    );
  },
};

async function ofOutput({ flags, output }: CommandContext, { api }: Connection, name: string): Promise<number> {
  const { param, query } = ofContainer(name, flags);
  const flag = (which: string) => flags[which] === true ? "true" as const : "false" as const;
  const answer = await succeeded(api.v1.containers[":id"].logs.$get({
    param,
    query: {
      ...query,
      follow: flag("follow"),
      timestamps: flag("timestamps"),
      since: instant("since", text(flags, "since")),
      until: instant("until", text(flags, "until")),
      tail: text(flags, "tail") === "all" ? undefined : text(flags, "tail"),
    },
  }, { headers: { accept: frameType } }));
  for await (const { channel, payload } of decodeFrames(answer.body ?? new ReadableStream())) {
    if (channel === "stdout") await output.bytes(payload);
    else if (channel === "stderr") await output.errorBytes(payload);
  }
  return 0;
}

/** A time as the API has it. @throws invalid_argument. */
function instant(flag: string, given: string | undefined): string | undefined {
  if (given === undefined) return undefined;
  const date = new Date(/^\d+(\.\d+)?(ms|s|m|h)$/.test(given) ? Date.now() - (milliseconds(flag, given) ?? 0) : given);
  if (!Number.isNaN(date.getTime())) return date.toISOString();
  throw new Failure(
    "invalid_argument",
    `--${flag} is ${JSON.stringify(given)}, wanted a time as 2026-01-31T12:00:00Z or 10m`,
  );
}

async function ofInvocations({ flags, output }: CommandContext, { api }: Connection, name: string): Promise<number> {
  const { items } = await result(api.v1.functions[":name"].logs.$get({
    param: { name },
    query: { ...scope(flags), limit: text(flags, "tail") ?? "20" },
  }));
  if (output.json) {
    output.line(JSON.stringify(items, undefined, 2));
    return 0;
  }
  for (const item of [...items].reverse()) {
    const time = item.durationMs === undefined ? "" : ` in ${item.durationMs.toFixed(1)} ms`;
    output.line(`${item.startedAt}  ${item.id}  ${item.status}${item.exitCode ? ` (${item.exitCode})` : ""}${time}`);
    if (item.error) output.line(`    ${printable(item.error)}`);
    for (const line of item.stderr?.trimEnd().split("\n") ?? []) {
      if (line !== "") output.line(`    ${printable(line)}`);
    }
  }
  return 0;
}
