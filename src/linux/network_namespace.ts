import * as f from "./flags.ts";
import type { Kernel } from "./kernel.ts";
import { raiseLoopback } from "./loopback.ts";
import { syscallFailure } from "./syscall_failure.ts";

const own = "/proc/thread-self/ns/net";

/** The exit status of a process that cannot go back: EX_SOFTWARE. */
const lost = 70;

/** Makes a network namespace, with loopback up. @returns its descriptor, which is the caller's to close. */
export function makeNetworkNamespace(kernel: Kernel): number {
  return aside(kernel, () => {
    kernel.call("unshare", f.CLONE_NEWNET);
    kernel.run([...raiseLoopback()]);
    return kernel.call("openat", f.AT_FDCWD, own, f.O_RDONLY | f.O_CLOEXEC, 0);
  });
}

/**
 * Lets this thread be in another network namespace for a while, in which nothing else of this process can run. Where it
 * cannot come back, the process ends: it is not to go on as a part of a container.
 */
function aside<T>(kernel: Kernel, use: () => T): T {
  const home = kernel.attempt("openat", f.AT_FDCWD, own, f.O_RDONLY | f.O_CLOEXEC, 0);
  if (home < 0) throw syscallFailure("cannot hold this process's network namespace", "openat", home);
  try {
    return use();
  } finally {
    if (kernel.attempt("setns", home, f.CLONE_NEWNET) < 0) kernel.attempt("exit_group", lost);
    kernel.attempt("close", home);
  }
}
