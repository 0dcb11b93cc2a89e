import type { Task } from "../core/task.ts";
import { SIGTERM } from "../linux/flags.ts";
import type { Kernel } from "../linux/kernel.ts";
import { kernelRead } from "../linux/kernel_read.ts";
import { killSoon } from "./kill_soon.ts";
import { goOn } from "./stop_live.ts";

/** Sends SIGTERM, waits, and kills. Resolves when init has ended. @param graceMs how long it has. */
export async function stopTask(kernel: Kernel, task: Task, graceMs: number): Promise<void> {
  if (task.status !== "running" && task.status !== "paused") return;
  let timer: ReturnType<typeof setTimeout> | undefined;
  if (task.pid !== undefined && heeds(kernel, task.pid, SIGTERM)) {
    await task.kill(SIGTERM);
    await goOn(task);
    timer = setTimeout(() => killSoon(task), graceMs);
  } else await task.kill().then(() => goOn(task));
  try {
    await task.wait();
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Whether a signal would reach a container's init: the kernel drops what it neither catches nor holds back, as it is the
 * first process of its pid namespace. Waiting for such a one is of no use.
 */
function heeds(kernel: Kernel, pid: number, signal: number): boolean {
  try {
    const status = kernelRead(kernel, `/proc/${pid}/status`);
    const bit = 1n << BigInt(signal - 1);
    return ["SigCgt", "SigBlk"].some((name) => {
      const mask = new RegExp(`^${name}:\\t([0-9a-f]+)$`, "m").exec(status)?.[1];
      return mask === undefined || (BigInt(`0x${mask}`) & bit) !== 0n;
    });
  } catch {
    return true;
  }
}
