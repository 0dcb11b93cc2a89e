import { readFileSync } from "node:fs";
import { Failure } from "../../src/core/errors.ts";
import { EPOLLIN } from "../../src/linux/flags.ts";
import type { Kernel } from "../../src/linux/kernel.ts";
import { parseProcStat } from "../../src/linux/proc_stat.ts";
import { sendSignal } from "../../src/linux/signal.ts";
import type { Keeper } from "./keeper.ts";

/** A process that a keeper has adopted, held so that its id cannot come to mean another. */
export interface Held {
  readonly pid: number;
  /** -1 when it had ended before. */
  readonly pidfd: number;
}

/**
 * Takes hold of the process whose id a command has written into a file.
 * @throws internal when there is none in it.
 */
export function hold(kernel: Kernel, keeper: Keeper, pidFile: string): Held {
  const pid = Number(readFileSync(pidFile, "utf8").trim());
  if (!Number.isSafeInteger(pid) || pid < 1) {
    throw new Failure("internal", `cannot read a process id out of ${JSON.stringify(pidFile)}`);
  }
  const pidfd = kernel.attempt("pidfd_open", pid, 0);
  if (pidfd < 0) return { pid, pidfd: -1 };
  // One that ended already has been reaped, and its id may be another's.
  if (parentOf(pid) === keeper.pid) return { pid, pidfd };
  kernel.attempt("close", pidfd);
  return { pid, pidfd: -1 };
}

/** Signals a process that is held; one that has ended takes no notice. */
export function signalHeld(kernel: Kernel, { pid, pidfd }: Held, signal: number): void {
  if (pidfd >= 0) sendSignal(kernel, pidfd, signal, `process ${pid}`);
}

/** `struct timespec` of no wait. */
const noTime = new Uint8Array(16);

/** Whether a process that is held has ended, reaped or not. */
export function hasEnded(kernel: Kernel, { pidfd }: Held): boolean {
  if (pidfd < 0) return true;
  const descriptors = new DataView(new ArrayBuffer(8));
  descriptors.setInt32(0, pidfd, true);
  descriptors.setInt16(4, EPOLLIN, true);
  return kernel.attempt("ppoll", new Uint8Array(descriptors.buffer), 1, noTime, 0, 0) === 1;
}

function parentOf(pid: number): number | undefined {
  try {
    return Number(parseProcStat(readFileSync(`/proc/${pid}/stat`, "utf8")).field(4));
  } catch {
    return undefined;
  }
}
