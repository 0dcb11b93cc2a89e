import { AT_FDCWD, O_CLOEXEC, O_WRONLY } from "../flags.ts";
import type { Kernel } from "../kernel.ts";

/** Writes a file of the kernel's, in one go. @returns 0, or the negative errno. */
export function writeText(kernel: Kernel, path: string, text: string): number {
  const fd = kernel.attempt("openat", AT_FDCWD, path, O_WRONLY | O_CLOEXEC, 0);
  if (fd < 0) return fd;
  const result = kernel.attempt("write", fd, text, text.length);
  kernel.attempt("close", fd);
  return Math.min(result, 0);
}
