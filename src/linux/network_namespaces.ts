import { errno } from "./errno.ts";
import * as f from "./flags.ts";
import type { Kernel } from "./kernel.ts";
import { raiseLoopback } from "./loopback.ts";
import type { Program } from "./program.ts";
import type { Stage } from "./stage.ts";
import type { Stages } from "./stages.ts";
import type { Template } from "./template.ts";

/** How many are made ahead, about. Each is about 250 KiB of the kernel's memory. */
const ahead = 16;

/** What the kernel counts for a message of one byte. */
const messageBytes = 768;

/** How soon another process is made where one has ended by itself. */
const restMs = 1000;

/** Where the process has its end of the socket. */
const socket = 3;

/**
 * Makes one namespace after another and sends each, until nobody is there to receive. Sending waits while as many wait to
 * be received as the socket holds: that is all that keeps count.
 */
const make: Program = [
  { syscall: "prctl", args: [f.PR_SET_NAME, "mayfly-net", 0, 0, 0], why: "take a name that tells what it does" },
  { syscall: "prctl", args: [f.PR_SET_PDEATHSIG, f.SIGKILL, 0, 0, 0], why: "die when the daemon dies" },
  { syscall: "unshare", args: [f.CLONE_NEWNET], why: "make a network namespace", label: "next" },
  ...raiseLoopback(),
  {
    syscall: "openat",
    args: [f.AT_FDCWD, "/proc/self/ns/net", f.O_RDONLY | f.O_CLOEXEC, 0],
    store: "namespace",
    why: "take hold of the network namespace",
  },
  {
    syscall: "sendmsg",
    args: [
      socket,
      // struct msghdr with one struct iovec, and one struct cmsghdr of SOL_SOCKET and SCM_RIGHTS.
      [0, 0, [".", 1], 1, [20, f.SOL_SOCKET + f.SCM_RIGHTS * 2 ** 32, { ref: "namespace" }], 24, 0],
      f.MSG_NOSIGNAL,
    ],
    why: "hand on the network namespace",
  },
  { syscall: "close", args: [{ ref: "namespace" }], why: "let go of it", onZero: { goto: "next" } },
];

const connect: Program = [
  {
    syscall: "socketpair",
    args: [f.AF_UNIX, f.SOCK_SEQPACKET | f.SOCK_CLOEXEC, 0, { out: "ends", size: 8 }],
    why: "make a socket for network namespaces",
  },
  {
    syscall: "setsockopt",
    // The kernel takes twice the number that it is given.
    args: [{ ref: "ends", at: 4 }, f.SOL_SOCKET, f.SO_SNDBUF, [ahead * messageBytes / 2], 4],
    why: "limit how many network namespaces are made ahead",
  },
];

const receive: Program = [{
  syscall: "recvmsg",
  args: [
    { hole: "socket" },
    [0, 0, [{ out: "byte", size: 8 }, 1], 1, { out: "control", size: 24 }, 24, 0],
    f.MSG_DONTWAIT | f.MSG_CMSG_CLOEXEC,
  ],
  store: "received",
  why: "receive a network namespace",
  onError: "ignore",
}];

/** The process, and the socket on which its namespaces come. */
interface Maker {
  readonly socket: number;
  readonly stage: Stage;
}

/**
 * Network namespaces that are made before they are wanted, by a process of their own on another processor: making one takes
 * the kernel longer than all else that a launch does. Each is given away once and never comes back, so that a container's is
 * as fresh as one that it makes itself. Loopback is up.
 */
export class NetworkNamespaces implements AsyncDisposable {
  readonly #stages: Stages;
  readonly #kernel: Kernel;
  #receive: Template | undefined;
  #maker: Maker | undefined;
  #asked = false;
  #restUntil = 0;

  constructor(stages: Stages) {
    this.#stages = stages;
    this.#kernel = stages.kernel;
  }

  /**
   * Takes one that is ready. Who asks but once makes its own: the process is started at the second call.
   * @returns its descriptor, which is the caller's to close; undefined when none is ready, or none can be made ahead here.
   */
  take(): number | undefined {
    if (!this.#asked) {
      this.#asked = true;
      return undefined;
    }
    const maker = this.#maker ?? this.#start();
    if (maker === undefined) return undefined;
    this.#receive ??= this.#kernel.compile(receive);
    const results = this.#kernel.run(this.#receive.fill({ socket: maker.socket }));
    const received = results.get("received");
    if (received > 0) return results.int32("control", 16);
    if (received !== -errno.EAGAIN) {
      // The process is gone; who killed it may do so again.
      this.#restUntil = Date.now() + restMs;
      this.#end().catch(() => {});
    }
    return undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#restUntil = Infinity;
    await this.#end();
    this.#receive?.release();
    this.#receive = undefined;
  }

  #start(): Maker | undefined {
    if (Date.now() < this.#restUntil) return undefined;
    const results = this.#kernel.run(connect);
    const [own, other] = [results.int32("ends"), results.int32("ends", 4)];
    let stage: Stage | undefined;
    try {
      stage = this.#stages.spawn(new Map([[0, null], [1, null], [2, null], [socket, other]]));
      stage.begin(make);
      return this.#maker = { socket: own, stage };
    } catch {
      // What keeps it from being made here is told by the launches, which make their own.
      this.#restUntil = Date.now() + restMs;
      this.#kernel.attempt("close", own);
      stage?.abandon().catch(() => {});
      return undefined;
    } finally {
      this.#kernel.attempt("close", other);
    }
  }

  async #end(): Promise<void> {
    const maker = this.#maker;
    this.#maker = undefined;
    if (maker === undefined) return;
    this.#kernel.attempt("close", maker.socket);
    await maker.stage.abandon();
  }
}
