import { statSync } from "node:fs";
import { Failure } from "../core/errors.ts";
import { argument, fromText } from "../linux/byte_string.ts";
import { errno } from "../linux/errno.ts";
import { AT_FDCWD, O_CLOEXEC, O_DIRECTORY, O_PATH, RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS } from "../linux/flags.ts";
import type { Kernel } from "../linux/kernel.ts";
import { syscallFailure } from "../linux/syscall_failure.ts";

/** What the kernel says where a path leads to nothing. */
const absent: ReadonlySet<number> = new Set([errno.ENOENT, errno.ENOTDIR, errno.ELOOP]);

const pathBytes = 4096;
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * Where a file or folder of a volume is on this machine. The kernel resolves the path with the volume as `/`, so that no
 * symbolic link leads out; what it has found has none in its own path, and nobody can change what is in the volume.
 * @param volume its folder. @param subpath below it. @param source what the volume is called, in errors.
 * @throws invalid_argument where nothing is there, or no file or folder.
 * @see https://man7.org/linux/man-pages/man2/openat2.2.html
 */
export function pathInVolume(kernel: Kernel, volume: string, subpath: string, source: string): string {
  const action = `cannot mount ${JSON.stringify(subpath)} of ${JSON.stringify(source)}`;
  const refused = (why: string) =>
    new Failure("invalid_argument", `${action}: ${why}, want a file or folder of it`, { details: { field: "mounts" } });
  const root = kernel.call("openat", AT_FDCWD, volume, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
  try {
    const how = [O_PATH | O_CLOEXEC, 0, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS];
    const found = kernel.attempt("openat2", root, argument(fromText(subpath)), how, how.length * 8);
    if (absent.has(-found)) throw refused("it is not there");
    if (found < 0) throw syscallFailure(action, "openat2", found);
    try {
      const link = `/proc/self/fd/${found}`;
      const status = statSync(link);
      if (!status.isFile() && !status.isDirectory()) throw refused("it is a device, a pipe or a socket");
      const path = pathOf(kernel, link);
      // A runtime takes text, which other bytes would not come back from.
      if (path === undefined) throw refused("its name is no UTF-8");
      return path;
    } finally {
      kernel.attempt("close", found);
    }
  } finally {
    kernel.attempt("close", root);
  }
}

/** What a link of the kernel's says, where it is text. */
function pathOf(kernel: Kernel, link: string): string | undefined {
  const memory = kernel.host.map(pathBytes);
  try {
    const length = kernel.call("readlinkat", AT_FDCWD, link, memory.address, pathBytes);
    return decoder.decode(memory.bytes.slice(0, length));
  } catch (error) {
    if (error instanceof TypeError) return undefined;
    throw error;
  } finally {
    memory.release();
  }
}
