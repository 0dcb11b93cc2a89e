import { readdirSync, readlinkSync } from "node:fs";

/**
 * What this process's descriptors of files, folders and mounts lead to. Those that the host opens for itself at any time
 * (event queues, pipes, sockets) are left out.
 */
export function openFiles(): readonly string[] {
  return readdirSync("/proc/self/fd").flatMap((fd) => {
    try {
      const target = readlinkSync(`/proc/self/fd/${fd}`);
      return /^(?:anon_inode:\[(?:event|io_uring|signalfd|timerfd)|pipe:|socket:|\/proc\/)/.test(target)
        ? []
        : [target];
    } catch {
      // That of the listing itself.
      return [];
    }
  }).sort();
}
