import type { Host } from "../core/host.ts";
import { errno } from "../linux/errno.ts";
import * as f from "../linux/flags.ts";
import type { Kernel } from "../linux/kernel.ts";
import type { Connected } from "./container_network.ts";

/** How many connections wait in the kernel to be accepted. */
const backlog = 16;
/** How many sockets are asked about at once. */
const batch = 64;
/** How soon it is tried again where no descriptor is left for a connection. */
const restMs = 100;

/** The connection is not there any more: the next one may be. */
const gone: ReadonlySet<number> = new Set([errno.EAGAIN, errno.ECONNABORTED, errno.EPROTO]);

export interface ListenOptions {
  /** On 127.0.0.1 of the socket's own network. */
  readonly port: number;
  /** The connection's both directions are the receiver's to close. */
  readonly onConnection: (connected: Connected) => void;
  /** How many connections are taken until `renew`: who makes more is not to keep the daemon busy. */
  readonly maxConnections: number;
  /** Told where more were made. The socket is closed then. */
  readonly onExhausted: () => void;
}

/** A socket that listens. */
export interface ContainerListener extends Disposable {
  /** Begins to count its connections anew. */
  renew(): void;
}

interface Listening {
  readonly fd: number;
  readonly options: ListenOptions;
  taken: number;
}

/**
 * Sockets that listen in the networks of containers. Not every host takes a socket that listens from elsewhere, so the
 * kernel sends a signal where somebody connects, and says which of the sockets it was when it is asked.
 * @see fcntl(2), F_SETSIG; the signal is one that nobody misses: its default is to do nothing.
 */
export class Listeners implements Disposable {
  readonly #kernel: Kernel;
  readonly #host: Host;
  readonly #listening = new Map<number, Listening>();
  /** Of `struct epoll_event`, which is packed on one processor alone. */
  readonly #size: number;
  #events: ReturnType<Kernel["buffer"]> | undefined;
  #epoll: number | undefined;
  #unlisten: (() => void) | undefined;
  #rest: ReturnType<typeof setTimeout> | undefined;

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
    this.#host = kernel.host;
    this.#size = kernel.host.arch === "x64" ? 12 : 16;
  }

  /**
   * Lets a new socket listen.
   * @param fd a TCP socket, close-on-exec and non-blocking, which is not the caller's any more.
   * @throws what the kernel says, for a port that is taken.
   */
  listen(fd: number, options: ListenOptions): ContainerListener {
    const kernel = this.#kernel;
    const { port } = options;
    try {
      const epoll = this.#open();
      const address = new Uint8Array([f.AF_INET, 0, port >> 8, port & 0xff, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
      kernel.call("bind", fd, address, address.length);
      kernel.call("fcntl", fd, f.F_SETOWN, this.#host.pid);
      kernel.call("fcntl", fd, f.F_SETSIG, f.SIGURG);
      kernel.call("fcntl", fd, f.F_SETFL, f.O_NONBLOCK | f.O_ASYNC);
      kernel.call("epoll_ctl", epoll, f.EPOLL_CTL_ADD, fd, this.#event(fd));
      kernel.call("listen", fd, backlog);
    } catch (error) {
      kernel.attempt("close", fd);
      throw error;
    }
    const listening: Listening = { fd, options, taken: 0 };
    this.#listening.set(fd, listening);
    return {
      renew: () => void (listening.taken = 0),
      [Symbol.dispose]: () => this.#close(listening),
    };
  }

  #open(): number {
    this.#unlisten ??= this.#host.onSignal("SIGURG", () => this.#accept());
    this.#events ??= this.#kernel.buffer(batch * this.#size);
    return this.#epoll ??= this.#kernel.call("epoll_create1", f.EPOLL_CLOEXEC);
  }

  #event(fd: number): Uint8Array {
    const event = new Uint8Array(this.#size);
    const view = new DataView(event.buffer);
    view.setUint32(0, f.EPOLLIN, true);
    view.setUint32(this.#size - 8, fd, true);
    return event;
  }

  #accept(): void {
    const events = this.#events;
    if (this.#epoll === undefined || events === undefined) return;
    for (;;) {
      const count = this.#kernel.attempt("epoll_pwait", this.#epoll, events.address, batch, 0, 0, 8);
      if (count <= 0) return;
      const view = new DataView(events.bytes.buffer, events.bytes.byteOffset);
      const ready = Array.from({ length: count }, (_, i) => view.getUint32(i * this.#size + this.#size - 8, true));
      if (!ready.every((fd) => this.#take(fd))) {
        clearTimeout(this.#rest);
        this.#rest = setTimeout(() => this.#accept(), restMs);
        return;
      }
    }
  }

  /** Takes one connection. @returns whether there may be more. */
  #take(fd: number): boolean {
    const listening = this.#listening.get(fd);
    if (listening === undefined) return true;
    const kernel = this.#kernel;
    if (++listening.taken > listening.options.maxConnections) {
      this.#close(listening);
      listening.options.onExhausted();
      return true;
    }
    const socket = kernel.attempt("accept4", fd, 0, 0, f.SOCK_CLOEXEC | f.SOCK_NONBLOCK);
    if (socket < 0) return gone.has(-socket);
    kernel.attempt("setsockopt", socket, f.IPPROTO_TCP, f.TCP_NODELAY, new Uint8Array([1, 0, 0, 0]), 4);
    const other = kernel.attempt("fcntl", socket, f.F_DUPFD_CLOEXEC, 0);
    if (other < 0) {
      kernel.attempt("close", socket);
      return false;
    }
    listening.options.onConnection({ readable: this.#host.readable(socket), writable: this.#host.writable(other) });
    return true;
  }

  #close(listening: Listening): void {
    if (this.#listening.get(listening.fd) !== listening) return;
    this.#listening.delete(listening.fd);
    this.#kernel.attempt("close", listening.fd);
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#rest);
    for (const listening of [...this.#listening.values()]) this.#close(listening);
    if (this.#epoll !== undefined) this.#kernel.attempt("close", this.#epoll);
    this.#epoll = undefined;
    this.#unlisten?.();
  }
}
