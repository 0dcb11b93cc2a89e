import type { TaskStats } from "../core/task.ts";
import type { Kernel } from "./kernel.ts";
import { kernelRead } from "./kernel_read.ts";

/** Room for some hundred interfaces. */
const limitBytes = 65536;

/** Where a line of `/proc/PID/net/dev` has its bytes, behind the name. */
const [received, sent] = [0, 8];

/**
 * What went through the interfaces of a process's network namespace, the loopback's aside: that is no traffic.
 * @returns nothing where the process is gone.
 * @see https://man7.org/linux/man-pages/man5/proc_pid_net.5.html
 */
export function networkUsage(
  kernel: Kernel,
  pid: number,
): Pick<TaskStats, "networkReceivedBytes" | "networkSentBytes"> {
  let text: string;
  try {
    text = kernelRead(kernel, `/proc/${pid}/net/dev`, limitBytes);
  } catch {
    return {};
  }
  let [networkReceivedBytes, networkSentBytes] = [0, 0];
  for (const line of text.split("\n").slice(2)) {
    const [name, numbers = ""] = line.split(":");
    if (name === undefined || name.trim() === "" || name.trim() === "lo") continue;
    const columns = numbers.trim().split(/\s+/).map(Number);
    networkReceivedBytes += columns[received] ?? 0;
    networkSentBytes += columns[sent] ?? 0;
  }
  return { networkReceivedBytes, networkSentBytes };
}
