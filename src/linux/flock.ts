import { Failure } from "../core/errors.ts";
import { errno } from "./errno.ts";
import { AT_FDCWD, LOCK_EX, LOCK_NB, O_CLOEXEC, O_CREAT, O_NOFOLLOW, O_RDWR } from "./flags.ts";
import type { Kernel } from "./kernel.ts";
import { syscallFailure } from "./syscall_failure.ts";

/** A lock on a file. The kernel drops it with the process, however that ends. */
export interface FileLock extends Disposable {
  readonly path: string;
}

const pidBytes = 20;

/**
 * Locks a file for this process alone, makes it where it is missing, and writes this process's id into it. The file stays
 * when the lock is gone: removing it would let two processes lock two files of one name.
 * @throws failed_precondition when another holds the lock, with `details.pid` where that is known.
 */
export function lockFile(kernel: Kernel, path: string): FileLock {
  const fd = kernel.call("openat", AT_FDCWD, path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0o600);
  try {
    const locked = kernel.attempt("flock", fd, LOCK_EX | LOCK_NB);
    if (locked === -errno.EAGAIN) throw held(kernel, path, fd);
    if (locked < 0) throw syscallFailure(`cannot lock ${JSON.stringify(path)}`, "flock", locked);
    kernel.call("ftruncate", fd, 0);
    const text = `${kernel.host.pid}\n`;
    kernel.call("pwrite64", fd, text, text.length, 0);
  } catch (error) {
    kernel.attempt("close", fd);
    throw error;
  }
  let open = true;
  return {
    path,
    [Symbol.dispose]() {
      if (open) kernel.attempt("close", fd);
      open = false;
    },
  };
}

function held(kernel: Kernel, path: string, fd: number): Failure {
  const { bytes, address } = kernel.buffer(pidBytes);
  const length = kernel.attempt("pread64", fd, address, pidBytes, 0);
  const pid = length > 0 ? Number.parseInt(new TextDecoder().decode(bytes.slice(0, length)), 10) : NaN;
  const holder = Number.isNaN(pid) ? "another process" : `process ${pid}`;
  return new Failure("failed_precondition", `cannot lock ${JSON.stringify(path)}: ${holder} holds it`, {
    syscall: "flock",
    errno: "EAGAIN",
    details: Number.isNaN(pid) ? { path } : { path, pid },
  });
}
