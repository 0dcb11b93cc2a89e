import * as v from "valibot";
import { type ErrorCode, errorCodes, Failure } from "../../src/core/errors.ts";

interface Pattern {
  readonly text: RegExp;
  readonly code: ErrorCode;
  /** A shell's exit status for what could not be run. */
  readonly exitCode?: number;
}

/** What the runtimes say, the first that fits: each in its own words, which no specification fixes. */
const patterns: readonly Pattern[] = [
  { text: /exec format error/i, code: "permission_denied", exitCode: 126 },
  {
    text: /executable (?:file|path).*(?:not found|no such file)|exec: "[^"]*": stat .*: no such file/i,
    code: "not_found",
    exitCode: 127,
  },
  {
    text: /exec(?:utable|:| ).*(?:permission denied|not permitted|is a directory)/i,
    code: "permission_denied",
    exitCode: 126,
  },
  { text: /already exists|already exist\b|File exists/i, code: "already_exists" },
  { text: /container .*does not exist|no such container|error opening file .*status/i, code: "not_found" },
  { text: /not a directory|must be mounted on ordinary directory|too many levels/i, code: "failed_precondition" },
  { text: /sysctl|hostname|namespace|rlimit|mount(?:ing)? [`"].* to /i, code: "invalid_argument" },
  { text: /not supported|unsupported|unimplemented/i, code: "unimplemented" },
  { text: /\bno space left\b|cannot allocate memory|resource temporarily unavailable/i, code: "resource_exhausted" },
  { text: /\b(?:not running|stopped|not paused|already paused|container is paused)\b/i, code: "failed_precondition" },
  {
    text: /\b(?:invalid|unknown|unrecognized|wrong|must|bad|not allowed|parse|out of range)\b/i,
    code: "invalid_argument",
  },
  { text: /operation not permitted|permission denied/i, code: "permission_denied" },
];

const EntrySchema = v.object({
  msg: v.string(),
  level: v.optional(v.string(), "error"),
  /** `mayfly oci` tells these beside the words. */
  code: v.optional(v.picklist(errorCodes)),
  exitCode: v.optional(v.number()),
});

/**
 * Makes a failure of what a runtime's command said.
 * @param action what could not be done, as the message begins.
 * @param log its log, as JSON lines, or its stderr.
 */
export function commandFailure(action: string, log: string): Failure {
  const { msg, code: told, exitCode: toldExitCode } = lastError(log);
  const pattern = patterns.find(({ text }) => text.test(msg));
  const code = told ?? pattern?.code ?? "failed_precondition";
  const exitCode = told === undefined ? pattern?.exitCode : toldExitCode;
  const message = msg.startsWith(`${action}: `) ? msg : `${action}: ${msg}`;
  return new Failure(code, message, exitCode === undefined ? {} : { details: { exitCode } });
}

/** The last error of a log; runtimes write what led to it before. */
function lastError(log: string): Partial<v.InferOutput<typeof EntrySchema>> & { readonly msg: string } {
  const lines = log.split("\n").filter((line) => line.trim() !== "");
  for (const line of lines.toReversed()) {
    const entry = parseLine(line);
    if (entry !== undefined && /^(?:error|fatal|panic)$/i.test(entry.level)) return { ...entry, msg: entry.msg.trim() };
  }
  const last = lines.at(-1) ?? "it does not say why";
  return parseLine(last) ?? { msg: last };
}

function parseLine(line: string): v.InferOutput<typeof EntrySchema> | undefined {
  try {
    const entry = v.safeParse(EntrySchema, JSON.parse(line));
    return entry.success ? entry.output : undefined;
  } catch {
    return undefined;
  }
}
