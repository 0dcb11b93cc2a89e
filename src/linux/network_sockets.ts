import * as f from "./flags.ts";
import type { Kernel } from "./kernel.ts";
import type { Program } from "./program.ts";
import { Results } from "./results.ts";
import { syscallFailure } from "./syscall_failure.ts";
import type { Template } from "./template.ts";

/** As `socket(2)` has it. */
export interface SocketKind {
  readonly family: number;
  /** With `SOCK_NONBLOCK` where that is wanted. */
  readonly type: number;
  /** Default 0. */
  readonly protocol?: number;
}

/**
 * Makes a socket in another network namespace. It is this thread that goes there: where it cannot come back, the process
 * ends rather than go on in a container's network.
 */
const inside: Program = [
  {
    syscall: "setns",
    args: [{ hole: "namespace" }, f.CLONE_NEWNET],
    why: "enter the container's network namespace",
  },
  {
    syscall: "socket",
    args: [{ hole: "family" }, { hole: "type" }, { hole: "protocol" }],
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
const byAnother: Program = inside.slice(0, 2).map(({ onError: _, ...step }) => step);

/** Makes sockets in network namespaces of containers. */
export class NetworkSockets implements Disposable {
  readonly #kernel: Kernel;
  readonly #own: number;
  readonly #program: Template;
  /** Whether this thread can go to another network namespace and come back. */
  readonly #returns: boolean;

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
    this.#own = kernel.call("openat", f.AT_FDCWD, "/proc/thread-self/ns/net", f.O_RDONLY | f.O_CLOEXEC);
    this.#returns = kernel.attempt("setns", this.#own, f.CLONE_NEWNET) === 0;
    this.#program = kernel.compile(this.#returns ? inside : byAnother);
  }

  /**
   * @param namespace its descriptor. @returns the socket's descriptor, close-on-exec; the caller's to close.
   * @throws any code that an errno of `setns` or `socket` stands for.
   */
  make(namespace: number, { family, type, protocol = 0 }: SocketKind): number {
    const kind = { family, type: type | f.SOCK_CLOEXEC, protocol };
    if (!this.#returns) return this.#byAnother({ namespace, ...kind });
    const socket = this.#kernel.run(this.#program.fill({ namespace, own: this.#own, ...kind })).get("socket");
    if (socket < 0) throw syscallFailure("cannot make a socket in a container's network", "socket", socket);
    return socket;
  }

  #byAnother(values: Parameters<Template["fill"]>[0]): number {
    const kernel = this.#kernel;
    const { pidfd } = kernel.spawn(this.#program.fill(values), { flags: f.CLONE_FILES });
    // It has ended by now: this thread slept that long.
    kernel.attempt("waitid", f.P_PIDFD, pidfd, 0, f.WEXITED, 0);
    kernel.attempt("close", pidfd);
    return new Results(this.#program, 0).get("socket");
  }

  [Symbol.dispose](): void {
    this.#program.release();
    this.#kernel.attempt("close", this.#own);
  }
}
