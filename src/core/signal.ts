import { Failure } from "./errors.ts";

/** By number, from 1, as Linux has them on x86-64 and arm64. @see https://man7.org/linux/man-pages/man7/signal.7.html */
const names = [
  "HUP",
  "INT",
  "QUIT",
  "ILL",
  "TRAP",
  "ABRT",
  "BUS",
  "FPE",
  "KILL",
  "USR1",
  "SEGV",
  "USR2",
  "PIPE",
  "ALRM",
  "TERM",
  "STKFLT",
  "CHLD",
  "CONT",
  "STOP",
  "TSTP",
  "TTIN",
  "TTOU",
  "URG",
  "XCPU",
  "XFSZ",
  "VTALRM",
  "PROF",
  "WINCH",
  "IO",
  "PWR",
  "SYS",
] as const;

const last = 64;
const realtimeMin = 34;

const numbers: ReadonlyMap<string, number> = new Map([
  ...names.map((name, index) => [name, index + 1] as const),
  ["IOT", 6],
  ["CLD", 17],
  ["POLL", 29],
]);

/**
 * The number of a signal that is given as number or name: `TERM`, `SIGTERM`, `15`, `RTMIN+3`.
 * @throws invalid_argument.
 */
export function parseSignal(signal: string | number): number {
  const text = String(signal).toUpperCase().replace(/^SIG/, "");
  const realtime = /^RT(?:MIN(?:\+(\d{1,2}))?|MAX(?:-(\d{1,2}))?)$/.exec(text);
  const number = /^\d{1,2}$/.test(text)
    ? Number(text)
    : realtime === null
    ? numbers.get(text)
    : text.startsWith("RTMIN")
    ? realtimeMin + Number(realtime[1] ?? 0)
    : last - Number(realtime[2] ?? 0);
  const least = realtime === null ? 1 : realtimeMin;
  if (number !== undefined && number >= least && number <= last) return number;
  throw new Failure(
    "invalid_argument",
    `cannot send signal ${
      JSON.stringify(String(signal).slice(0, 32))
    }: want a name, as SIGTERM, or a number of 1 to 64`,
    { details: { field: "signal" } },
  );
}
