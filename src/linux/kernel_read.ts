import { AT_FDCWD, O_CLOEXEC, O_RDONLY } from "./flags.ts";
import type { Kernel } from "./kernel.ts";
import { syscallFailure } from "./syscall_failure.ts";

const decoder = new TextDecoder();

/**
 * Reads a small file in one read and one entry of the kernel: /proc, /sys, cgroups.
 * @param limitBytes the rest of a longer file is left out.
 * @throws what its errno stands for.
 */
export function kernelRead(kernel: Kernel, path: string, limitBytes = 4096): string {
  const why = `read ${JSON.stringify(path)}`;
  const fd = { ref: "fd" };
  const results = kernel.run([
    { syscall: "openat", args: [AT_FDCWD, path, O_RDONLY | O_CLOEXEC], store: "fd", why },
    {
      syscall: "read",
      args: [fd, { out: "data", size: limitBytes }, limitBytes],
      store: "length",
      onError: "ignore",
      why,
    },
    { syscall: "close", args: [fd], onError: "ignore", why },
  ]);
  const length = results.get("length");
  if (length < 0) throw syscallFailure(why, "read", length);
  return decoder.decode(results.bytes("data").subarray(0, length));
}
