import { errno } from "../errno.ts";
import { MNT_DETACH, UMOUNT_NOFOLLOW } from "../flags.ts";
import type { Kernel } from "../kernel.ts";
import { syscallFailure } from "../syscall_failure.ts";

/** Unmounts whatever is mounted at a path. What is in use stays mounted for its users alone. */
export function unmountAll(kernel: Kernel, path: string): void {
  for (;;) {
    const result = kernel.attempt("umount2", path, MNT_DETACH | UMOUNT_NOFOLLOW);
    // Nothing is mounted there.
    if (result === -errno.EINVAL || result === -errno.ENOENT) return;
    if (result < 0) throw syscallFailure(`cannot unmount ${JSON.stringify(path)}`, "umount2", result);
  }
}
