import { FSCONFIG_CMD_CREATE, FSCONFIG_SET_FLAG, FSCONFIG_SET_STRING, FSOPEN_CLOEXEC } from "../flags.ts";
import type { Kernel } from "../kernel.ts";
import { ownIds } from "../own_ids.ts";

/**
 * Tries an overlay over these folders; it is mounted nowhere, so nothing can be left behind.
 * @returns 0, or the negative errno.
 * @see https://man7.org/linux/man-pages/man2/fsopen.2.html
 */
export function tryOverlay(
  kernel: Kernel,
  { lower, upper, work }: { readonly lower: string; readonly upper: string; readonly work: string },
): number {
  const fd = kernel.attempt("fsopen", "overlay", FSOPEN_CLOEXEC);
  if (fd < 0) return fd;
  try {
    for (const [key, path] of [["lowerdir", lower], ["upperdir", upper], ["workdir", work]] as const) {
      const result = kernel.attempt("fsconfig", fd, FSCONFIG_SET_STRING, key, path, 0);
      if (result < 0) return result;
    }
    if (!ownIds(kernel).all) {
      const result = kernel.attempt("fsconfig", fd, FSCONFIG_SET_FLAG, "userxattr", 0, 0);
      if (result < 0) return result;
    }
    return Math.min(0, kernel.attempt("fsconfig", fd, FSCONFIG_CMD_CREATE, 0, 0, 0));
  } finally {
    kernel.attempt("close", fd);
  }
}
