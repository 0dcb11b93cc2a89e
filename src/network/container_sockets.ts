import { Failure } from "../core/errors.ts";
import { errno } from "../linux/errno.ts";
import * as f from "../linux/flags.ts";
import type { Kernel } from "../linux/kernel.ts";
import { syscallFailure } from "../linux/syscall_failure.ts";
import type { Connected } from "./container_network.ts";

/** How long a server that does not accept is waited for. */
const connectMs = 5000;

/** What says that nobody listens, or not yet. */
const nobody: ReadonlySet<number> = new Set([errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ECONNREFUSED]);

/**
 * Reaches Unix sockets in the root filesystem of a container. Their paths are resolved by the kernel with that root as `/`, so
 * that no symbolic link leads to a socket of the machine's.
 */
export class ContainerSockets implements Disposable {
  readonly #kernel: Kernel;
  #root: number | undefined;

  /** @param pid its init, of which the caller knows that it was not reaped. @throws not_found where it has ended. */
  constructor(kernel: Kernel, pid: number) {
    this.#kernel = kernel;
    this.#root = kernel.call("openat", f.AT_FDCWD, `/proc/${pid}/root`, f.O_PATH | f.O_CLOEXEC);
  }

  /** @throws unavailable where nobody listens; deadline_exceeded where nobody accepts; the signal's reason. */
  async connect(path: string, signal: AbortSignal): Promise<Connected> {
    const kernel = this.#kernel;
    const socket = kernel.call("socket", f.AF_UNIX, f.SOCK_STREAM | f.SOCK_CLOEXEC | f.SOCK_NONBLOCK, 0);
    try {
      const begin = performance.now();
      for (let pauseMs = 1;; pauseMs = Math.min(pauseMs * 2, 50)) {
        const result = this.#try(socket, path);
        if (result >= 0) break;
        if (nobody.has(-result)) throw new Failure("unavailable", `nobody listens on ${path} of the container`);
        if (result !== -errno.EAGAIN) throw syscallFailure(`cannot reach ${path} of the container`, "connect", result);
        if (performance.now() - begin > connectMs) {
          throw new Failure("deadline_exceeded", `${path} of the container did not accept within ${connectMs} ms`);
        }
        await new Promise((resolve) => setTimeout(resolve, pauseMs));
        signal.throwIfAborted();
      }
      const other = kernel.call("fcntl", socket, f.F_DUPFD_CLOEXEC, 0);
      return { readable: kernel.host.readable(socket), writable: kernel.host.writable(other) };
    } catch (error) {
      kernel.attempt("close", socket);
      throw error;
    }
  }

  /** @returns 0, or -errno. */
  #try(socket: number, path: string): number {
    if (this.#root === undefined) throw new Failure("unavailable", "cannot reach a socket: the container has ended");
    const kernel = this.#kernel;
    const how = [f.O_PATH | f.O_CLOEXEC, 0, f.RESOLVE_IN_ROOT | f.RESOLVE_NO_MAGICLINKS];
    const file = kernel.attempt("openat2", this.#root, path, how, how.length * 8);
    if (file < 0) return file;
    try {
      const name = new TextEncoder().encode(`/proc/self/fd/${file}\0`);
      const address = new Uint8Array(2 + name.length);
      address[0] = f.AF_UNIX;
      address.set(name, 2);
      return kernel.attempt("connect", socket, address, address.length);
    } finally {
      kernel.attempt("close", file);
    }
  }

  [Symbol.dispose](): void {
    if (this.#root !== undefined) this.#kernel.attempt("close", this.#root);
    this.#root = undefined;
  }
}
