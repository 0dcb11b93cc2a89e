import { Failure, messageOf } from "../core/errors.ts";
import type { Host } from "../core/host.ts";
import { errno } from "../linux/errno.ts";
import * as f from "../linux/flags.ts";
import { Kernel } from "../linux/kernel.ts";
import type { Program } from "../linux/program.ts";
import { Results } from "../linux/results.ts";
import { syscallFailure } from "../linux/syscall_failure.ts";
import type { Template } from "../linux/template.ts";
import { type ContainerListener, Listeners, type ListenOptions } from "./listeners.ts";

/** Both directions of a connection. Each owns a descriptor of its own; the connection ends when both are closed. */
export interface Connected {
  readonly readable: ReadableStream<Uint8Array<ArrayBuffer>>;
  readonly writable: WritableStream<Uint8Array>;
}

/** How long a server that does not accept is waited for. */
const connectMs = 5000;

/**
 * Makes a socket in another network namespace. It is this thread that goes there: where it cannot come back, the process
 * ends rather than go on in a container's network.
 */
const socketInside: Program = [
  {
    syscall: "setns",
    args: [{ hole: "namespace" }, f.CLONE_NEWNET],
    why: "enter the container's network namespace",
  },
  {
    syscall: "socket",
    args: [f.AF_INET, f.SOCK_STREAM | f.SOCK_CLOEXEC | f.SOCK_NONBLOCK, 0],
    store: "socket",
    why: "make a socket in the container's network namespace",
    onError: "ignore",
  },
  {
    syscall: "setns",
    args: [{ hole: "own" }, f.CLONE_NEWNET],
    why: "come back from the container's network namespace",
    onError: "ignore",
    onZero: { goto: "end" },
  },
  { syscall: "exit_group", args: [70], why: "end, where there is no way back" },
];

/**
 * The same in a process of its own, with this one's descriptors: who has no rights over the machine's network namespace, as
 * an ordinary user's daemon, could not come back to it.
 */
const socketByAnother: Program = socketInside.slice(0, 2).map(({ onError: _, ...step }) => step);

/** Reaches servers in the network namespaces of containers, and serves there: they need no interface and no address for that. */
export class ContainerNetworks implements Disposable {
  readonly kernel: Kernel;
  readonly listeners: Listeners;
  readonly #own: number;
  readonly #socket: Template;
  /** Whether this thread can go to another network namespace and come back. */
  readonly #returns: boolean;

  constructor(host: Host) {
    this.kernel = new Kernel(host);
    this.listeners = new Listeners(this.kernel);
    this.#own = this.kernel.call("openat", f.AT_FDCWD, "/proc/thread-self/ns/net", f.O_RDONLY | f.O_CLOEXEC);
    this.#returns = this.kernel.attempt("setns", this.#own, f.CLONE_NEWNET) === 0;
    this.#socket = this.kernel.compile(this.#returns ? socketInside : socketByAnother);
  }

  /**
   * Takes hold of a container's network namespace, as long as the container is not known to have ended.
   * @param pid its init, of which the caller knows that it was not reaped.
   * @throws not_found where it has ended.
   */
  open(pid: number): ContainerNetwork {
    const fd = this.kernel.call("openat", f.AT_FDCWD, `/proc/${pid}/ns/net`, f.O_RDONLY | f.O_CLOEXEC);
    return new ContainerNetwork(this, fd);
  }

  /** A TCP socket in a namespace, non-blocking; the caller's to close. */
  socket(namespace: number): number {
    if (!this.#returns) return this.#socketByAnother(namespace);
    const socket = this.kernel.run(this.#socket.fill({ namespace, own: this.#own })).get("socket");
    if (socket < 0) throw syscallFailure("cannot make a socket in a container's network", "socket", socket);
    return socket;
  }

  #socketByAnother(namespace: number): number {
    const { kernel } = this;
    const { pidfd } = kernel.spawn(this.#socket.fill({ namespace }), { flags: f.CLONE_FILES });
    // It has ended by now: this thread slept that long.
    kernel.attempt("waitid", f.P_PIDFD, pidfd, 0, f.WEXITED, 0);
    kernel.attempt("close", pidfd);
    return new Results(this.#socket, 0).get("socket");
  }

  [Symbol.dispose](): void {
    this.listeners[Symbol.dispose]();
    this.#socket.release();
    this.kernel.attempt("close", this.#own);
  }
}

/** The network namespace of one container, held open. */
export class ContainerNetwork implements Disposable {
  readonly #networks: ContainerNetworks;
  #fd: number | undefined;

  constructor(networks: ContainerNetworks, fd: number) {
    this.#networks = networks;
    this.#fd = fd;
  }

  /** A TCP socket in it, close-on-exec and non-blocking; the caller's to close. */
  socket(): number {
    if (this.#fd === undefined) throw new Failure("unavailable", "cannot make a socket: the container has ended");
    return this.#networks.socket(this.#fd);
  }

  /** Listens on the container's own 127.0.0.1. */
  listen(options: ListenOptions): ContainerListener {
    return this.#networks.listeners.listen(this.socket(), options);
  }

  /**
   * Connects to a server on the container's own 127.0.0.1.
   * @throws unavailable where nobody listens; deadline_exceeded where nobody accepts; the signal's reason.
   */
  async connect(port: number, signal?: AbortSignal): Promise<Connected> {
    const { kernel } = this.#networks;
    const socket = await this.dial(port, { ...(signal && { signal }) });
    try {
      const other = kernel.call("fcntl", socket, f.F_DUPFD_CLOEXEC, 0);
      const { host } = kernel;
      return { readable: host.readable(socket), writable: host.writable(other) };
    } catch (error) {
      kernel.attempt("close", socket);
      throw error;
    }
  }

  /**
   * As `connect`, to any address of the container's.
   * @param options.address of IPv4; default 127.0.0.1. @returns the socket, which is the caller's to close.
   */
  async dial(
    port: number,
    options: { readonly address?: string | undefined; readonly signal?: AbortSignal } = {},
  ): Promise<number> {
    const { kernel } = this.#networks;
    const { signal } = options;
    const socket = this.socket();
    try {
      const to = (options.address ?? "127.0.0.1").split(".").map(Number);
      const address = new Uint8Array([f.AF_INET, 0, port >> 8, port & 0xff, ...to, 0, 0, 0, 0, 0, 0, 0, 0]);
      const begin = performance.now();
      for (let pauseMs = 1;; pauseMs = Math.min(pauseMs * 2, 50)) {
        const result = kernel.attempt("connect", socket, address, address.length);
        // On loopback the kernel has done all of it by now, but where the server's line is full.
        if (result === 0 || result === -errno.EISCONN) break;
        if (result !== -errno.EINPROGRESS && result !== -errno.EALREADY) {
          throw syscallFailure(`cannot reach port ${port} of the container`, "connect", result);
        }
        if (performance.now() - begin > connectMs) {
          throw new Failure("deadline_exceeded", `port ${port} of the container did not accept within ${connectMs} ms`);
        }
        await new Promise((resolve) => setTimeout(resolve, pauseMs));
        signal?.throwIfAborted();
      }
      kernel.attempt("setsockopt", socket, f.IPPROTO_TCP, f.TCP_NODELAY, new Uint8Array([1, 0, 0, 0]), 4);
      return socket;
    } catch (error) {
      kernel.attempt("close", socket);
      // Reset: it was in the line of a server that has closed.
      if (error instanceof Failure && (error.errno === "ECONNREFUSED" || error.errno === "ECONNRESET")) {
        throw new Failure("unavailable", messageOf(error), { cause: error });
      }
      throw error;
    }
  }

  [Symbol.dispose](): void {
    if (this.#fd !== undefined) this.#networks.kernel.attempt("close", this.#fd);
    this.#fd = undefined;
  }
}
