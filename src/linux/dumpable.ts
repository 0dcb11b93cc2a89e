import { PR_SET_DUMPABLE } from "./flags.ts";
import type { Kernel } from "./kernel.ts";

/**
 * Closes this process to others' eyes: no core dumps, no ptrace, and `/proc/<pid>/{mem,exe,fd,…}` for the privileged in
 * the same user namespace alone. A child that has not executed yet shares this process's memory, so that a launcher does
 * this before its first launch.
 */
export function setUndumpable(kernel: Kernel): void {
  kernel.call("prctl", PR_SET_DUMPABLE, 0);
}
