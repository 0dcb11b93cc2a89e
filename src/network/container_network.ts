import { Failure, messageOf } from "../core/errors.ts";
import type { Host } from "../core/host.ts";
import { errno } from "../linux/errno.ts";
import * as f from "../linux/flags.ts";
import { Kernel } from "../linux/kernel.ts";
import { NetworkSockets } from "../linux/network_sockets.ts";
import { syscallFailure } from "../linux/syscall_failure.ts";
import { type ContainerListener, Listeners, type ListenOptions } from "./listeners.ts";

/** Both directions of a connection. Each owns a descriptor of its own; the connection ends when both are closed. */
export interface Connected {
  readonly readable: ReadableStream<Uint8Array<ArrayBuffer>>;
  readonly writable: WritableStream<Uint8Array>;
}

/** How long a server that does not accept is waited for. */
const connectMs = 5000;

/** Reaches servers in the network namespaces of containers, and serves there: they need no interface and no address for that. */
export class ContainerNetworks implements Disposable {
  readonly kernel: Kernel;
  readonly listeners: Listeners;
  readonly #sockets: NetworkSockets;

  constructor(host: Host) {
    this.kernel = new Kernel(host);
    this.listeners = new Listeners(this.kernel);
    this.#sockets = new NetworkSockets(this.kernel);
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

  /** A TCP socket in a namespace, close-on-exec and non-blocking; the caller's to close. */
  socket(namespace: number): number {
    return this.#sockets.make(namespace, { family: f.AF_INET, type: f.SOCK_STREAM | f.SOCK_NONBLOCK });
  }

  [Symbol.dispose](): void {
    this.listeners[Symbol.dispose]();
    this.#sockets[Symbol.dispose]();
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
