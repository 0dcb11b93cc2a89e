import { kernelRead } from "../linux/kernel_read.ts";
import type { Kernel } from "../linux/kernel.ts";
import { parseProcStat } from "../linux/proc_stat.ts";

/** A process of a container, as this machine sees it. */
export interface ProcessInfo {
  readonly pid: number;
  /** Its parent's. */
  readonly ppid: number;
  /** Its id inside the container, where that has ids of its own. */
  readonly containerPid: number;
  /** On this machine. */
  readonly uid: number;
  /** One letter, as ps has it: R, S, D, T, Z, … */
  readonly state: string;
  readonly cpuMicros: number;
  readonly memoryBytes: number;
  /** Its command line; the name in brackets where it has none. */
  readonly command: string;
}

/** In 1/100 s, on every architecture. @see https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html */
const tickMicros = 10_000;
const pageBytes = 4096;
/** The rest of a longer command line is left out. */
const commandBytes = 16 * 1024;

/** Describes processes by /proc; those that have ended are left out. */
export function listProcesses(kernel: Kernel, pids: readonly number[]): readonly ProcessInfo[] {
  return pids.flatMap((pid) => {
    try {
      return [describe(kernel, pid)];
    } catch {
      // It ended in between: nobody misses it.
      return [];
    }
  });
}

function describe(kernel: Kernel, pid: number): ProcessInfo {
  const stat = parseProcStat(kernelRead(kernel, `/proc/${pid}/stat`));
  const status = kernelRead(kernel, `/proc/${pid}/status`);
  const line = kernelRead(kernel, `/proc/${pid}/cmdline`, commandBytes);
  const field = (number: number) => Number(stat.field(number));
  return {
    pid,
    ppid: field(4),
    containerPid: Number(/^NSpid:.*?(\d+)$/m.exec(status)?.[1] ?? pid),
    uid: Number(/^Uid:\t(\d+)/m.exec(status)?.[1] ?? 0),
    state: stat.field(3) || "?",
    cpuMicros: (field(14) + field(15)) * tickMicros,
    memoryBytes: field(24) * pageBytes,
    command: line.replace(/\0+$/, "").replaceAll("\0", " ") || `[${stat.name}]`,
  };
}
