import * as v from "valibot";
import type { Invocation } from "../../core/invocation.ts";
import type { Functions } from "../../functions/functions.ts";
import { jsonLines } from "../json_lines.ts";
import { NamespaceSchema } from "./deployment.ts";

export const logsType = "application/x-ndjson";
/** How many of the newest invocations are looked at. */
const most = 1000;
/** Between two looks at what has ended. */
const lookEveryMs = 500;

const flag = v.optional(
  v.pipe(v.picklist(["true", "false", "1", "0", ""]), v.transform((text) => text === "true" || text === "1")),
  "false",
);

/** @see https://github.com/openfaas/faas/blob/master/api-docs/spec.openapi.yml */
export const LogsSchema = v.object({
  name: v.pipe(v.string(), v.minLength(1), v.maxLength(64)),
  namespace: NamespaceSchema,
  /** An invocation's id. */
  instance: v.optional(v.pipe(v.string(), v.maxLength(64)), ""),
  /** The last so many lines; none or less for all. */
  tail: v.optional(v.pipe(v.string(), v.regex(/^-?\d{1,9}$/, "a whole number"), v.transform(Number)), "0"),
  follow: flag,
  since: v.optional(
    v.pipe(
      v.string(),
      v.check((text) => text === "" || !Number.isNaN(Date.parse(text)), "a time, as 2026-01-31T12:00:00Z"),
      v.transform((text) => text === "" ? 0 : Date.parse(text)),
    ),
    "",
  ),
});
export type LogsQuery = v.InferOutput<typeof LogsSchema>;

interface Line {
  readonly name: string;
  readonly namespace: string;
  readonly instance: string;
  readonly timestamp: Date;
  readonly text: string;
}

/** What a function's invocations have written to stderr, and how they have ended, as lines of JSON. */
export function logsAnswer(
  functions: Pick<Functions, "invocations">,
  query: LogsQuery,
  closing: AbortSignal,
): Response {
  const { namespace, name, instance, tail, follow, since } = query;
  // Those that ran when they were last looked at may end in another order than they began.
  const told = new Set<string>();
  const look = async (): Promise<Line[]> => {
    const newest = await functions.invocations(namespace, { function: name, limit: most });
    const ended = newest.filter((one) => one.status !== "running" && !told.has(one.id)).toReversed();
    told.clear();
    for (const { id, status } of newest) if (status !== "running") told.add(id);
    return ended.filter((one) => instance === "" || one.id === instance).flatMap(linesOf);
  };
  return jsonLines(async (write, gone) => {
    const end = AbortSignal.any([gone, closing]);
    const past = (await look()).filter(({ timestamp }) => timestamp.getTime() >= since);
    for (const line of tail > 0 ? past.slice(-tail) : past) write(line);
    while (follow && !end.aborted) {
      await pause(lookEveryMs, end);
      if (!end.aborted) { for (const line of await look()) write(line); }
    }
  }, { type: logsType });
}

function linesOf(invocation: Invocation): Line[] {
  const { function: name, namespace, id: instance, startedAt, stderr = "", status, durationMs = 0, error } = invocation;
  const at = (timestamp: Date, text: string) => ({ name, namespace, instance, timestamp, text });
  const lines = stderr.split("\n").filter((text) => text !== "").map((text) => at(startedAt, text));
  const end = new Date(startedAt.getTime() + durationMs);
  return [...lines, at(end, `${status} after ${durationMs.toFixed(1)} ms${error === undefined ? "" : `: ${error}`}`)];
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    signal.addEventListener("abort", end);
    if (signal.aborted) end();
  });
}
