import { readFileSync } from "node:fs";
import { parseProcStat } from "../linux/proc_stat.ts";

/** A process as the kernel tells of it. */
export interface ProcessInfo {
  /** One letter: `Z` has ended. @see https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html */
  readonly state: string;
  readonly parent: number;
  readonly startTicks: string;
}

/** @returns undefined where there is no such process. */
export function processInfo(pid: number): ProcessInfo | undefined {
  if (pid <= 0) return undefined;
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  } catch {
    return undefined;
  }
  const { field } = parseProcStat(stat);
  return { state: field(3) || "X", parent: Number(field(4)), startTicks: field(22) };
}

/** Whether a process is there still, and is the one that began then. */
export function isAlive(pid: number, startTicks: string): boolean {
  const info = processInfo(pid);
  return info !== undefined && info.startTicks === startTicks && info.state !== "Z" && info.state !== "X";
}
