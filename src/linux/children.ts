import { Failure } from "../core/errors.ts";
import { errno, errnoName, errnoText } from "./errno.ts";
import {
  CLD_EXITED,
  EPOLL_CLOEXEC,
  EPOLL_CTL_ADD,
  EPOLL_CTL_DEL,
  EPOLLIN,
  P_PIDFD,
  WEXITED,
  WNOHANG,
} from "./flags.ts";
import type { Kernel } from "./kernel.ts";

/** How a child ended. */
export interface ChildExit {
  /** The exit status; 128 + the signal's number when a signal ended it. */
  readonly code: number;
  readonly signal: number | undefined;
  /** Of the child and of those of its own children that it waited for. */
  readonly usage: ChildUsage;
}

/** No memory: until it executes, a child uses this process's, and the kernel's maximum keeps that. */
export interface ChildUsage {
  readonly userMicros: number;
  readonly systemMicros: number;
}

interface Waiter {
  readonly promise: Promise<ChildExit>;
  readonly resolve: (exit: ChildExit) => void;
  readonly reject: (error: Failure) => void;
}

/** Offsets in bytes of `siginfo_t` and `struct rusage`. */
const siginfo = { code: 8, pid: 16, status: 24, size: 128 } as const;
const rusage = { user: 0, system: 16, size: 144 } as const;
const atOnce = 64;

/**
 * Waits for children of this process and removes them from the kernel's table, without ever blocking: SIGCHLD says that
 * some have ended, epoll says which. It takes only those that somebody waits for, so that others (the JavaScript
 * runtime's own) are left to their owners.
 */
export class Children {
  readonly #kernel: Kernel;
  readonly #waiters = new Map<number, Waiter>();
  readonly #status: DataView;
  readonly #statusAddress: number;
  readonly #events: DataView;
  readonly #eventsAddress: number;
  readonly #eventBytes: number;
  readonly #epoll: number;
  readonly #stop: () => void;
  #keepAlive: ReturnType<typeof setInterval> | undefined;
  #closed = false;

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
    this.#eventBytes = kernel.host.arch === "x64" ? 12 : 16;
    const status = kernel.buffer(siginfo.size + rusage.size);
    this.#status = viewOf(status.bytes);
    this.#statusAddress = status.address;
    const events = kernel.buffer(atOnce * this.#eventBytes);
    this.#events = viewOf(events.bytes);
    this.#eventsAddress = events.address;
    this.#epoll = kernel.call("epoll_create1", EPOLL_CLOEXEC);
    this.#stop = kernel.host.onChild(() => this.#collect());
  }

  /**
   * Resolves when a child has ended and is reaped. Waiting twice for the same child gives the same promise until then.
   * @param pidfd the child's, as `Kernel.spawn` returned it. The caller keeps it open until the promise settles, and
   * closes it then.
   * @throws failed_precondition when it is no child of this process, or somebody else has reaped it; unavailable when
   * this object is closed first.
   */
  wait(pidfd: number): Promise<ChildExit> {
    const known = this.#waiters.get(pidfd);
    if (known !== undefined) return known.promise;
    if (this.#closed) return Promise.reject(closed());
    const waiter: Waiter = Promise.withResolvers<ChildExit>();
    // The listener is there already: a child that ends after this look is told by a signal after it.
    const reaped = this.#reap(pidfd, waiter);
    if (!reaped) this.#watch(pidfd, waiter);
    return waiter.promise;
  }

  /** Ends all waiting. Children go on and are not reaped. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#stop();
    this.#kernel.attempt("close", this.#epoll);
    for (const waiter of this.#waiters.values()) waiter.reject(closed());
    this.#waiters.clear();
    this.#rest();
  }

  #watch(pidfd: number, waiter: Waiter): void {
    this.#events.setUint32(0, EPOLLIN, true);
    this.#events.setBigUint64(this.#eventBytes - 8, BigInt(pidfd), true);
    this.#kernel.call("epoll_ctl", this.#epoll, EPOLL_CTL_ADD, pidfd, this.#eventsAddress);
    this.#waiters.set(pidfd, waiter);
    // No runtime stays alive for a signal listener. The look itself costs a microsecond.
    this.#keepAlive ??= setInterval(() => this.#collect(), 1000);
  }

  /** Reaps all that have ended. */
  #collect(): void {
    while (this.#waiters.size > 0) {
      const count = this.#kernel.attempt("epoll_pwait", this.#epoll, this.#eventsAddress, atOnce, 0, 0, 0);
      if (count <= 0) return;
      const ended: number[] = [];
      for (let i = 0; i < count; i++) ended.push(this.#events.getUint32((i + 1) * this.#eventBytes - 8, true));
      let progress = false;
      for (const pidfd of ended) {
        const waiter = this.#waiters.get(pidfd);
        if (waiter !== undefined && !this.#reap(pidfd, waiter)) continue;
        progress = true;
        this.#waiters.delete(pidfd);
        this.#kernel.attempt("epoll_ctl", this.#epoll, EPOLL_CTL_DEL, pidfd, 0);
      }
      if (this.#waiters.size === 0) this.#rest();
      if (count < atOnce || !progress) return;
    }
  }

  /** Settles a waiter when its child has ended. */
  #reap(pidfd: number, waiter: Waiter): boolean {
    const status = this.#status;
    status.setInt32(siginfo.pid, 0, true);
    const result = this.#kernel.attempt(
      "waitid",
      P_PIDFD,
      pidfd,
      this.#statusAddress,
      WEXITED | WNOHANG,
      this.#statusAddress + siginfo.size,
    );
    if (result < 0) {
      waiter.reject(lost(pidfd, result));
      return true;
    }
    if (status.getInt32(siginfo.pid, true) === 0) return false;
    const value = status.getInt32(siginfo.status, true);
    const exited = status.getInt32(siginfo.code, true) === CLD_EXITED;
    waiter.resolve({
      code: exited ? value : 128 + value,
      signal: exited ? undefined : value,
      usage: {
        userMicros: micros(status, siginfo.size + rusage.user),
        systemMicros: micros(status, siginfo.size + rusage.system),
      },
    });
    return true;
  }

  #rest(): void {
    clearInterval(this.#keepAlive);
    this.#keepAlive = undefined;
  }
}

function viewOf(bytes: Uint8Array<ArrayBuffer>): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}

/** Microseconds of a `struct timeval`. */
function micros(view: DataView, at: number): number {
  return Number(view.getBigInt64(at, true)) * 1_000_000 + Number(view.getBigInt64(at + 8, true));
}

function closed(): Failure {
  return new Failure("unavailable", "cannot wait for a child: the waiting was ended");
}

function lost(pidfd: number, result: number): Failure {
  const reason = result === -errno.ECHILD
    ? "it is no child of this process, or somebody else has reaped it"
    : errnoText(-result);
  return new Failure("failed_precondition", `cannot wait for the child of pidfd ${pidfd}: ${reason}`, {
    syscall: "waitid",
    errno: errnoName(-result),
  });
}
