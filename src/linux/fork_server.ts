import type { Failure } from "../core/errors.ts";
import * as f from "./flags.ts";
import type { Program } from "./program.ts";
import { refusalBytes, Stage } from "./stage.ts";
import { mostDescriptors, type Stages } from "./stages.ts";
import { init } from "./stub/layout.ts";
import { syscallFailure } from "./syscall_failure.ts";

/** What is passed to the process takes the lowest numbers that are free, in its order. */
const firstPassed = 3;

/** Where a new process has what was passed for it, one after another; the rest of its descriptors are to be closed. */
export const forkedDescriptors = {
  /** The pidfd of the process that it was made beside. */
  beside: firstPassed + 1,
  /** The others. */
  first: firstPassed + 2,
} as const;

const maxPassed = 128;
const controlBytes = 16 + maxPassed * 4;
/** The same as a word: the kernel overwrites the one that it is given. */
const room = new Uint8Array(Uint32Array.of(controlBytes).buffer);

const enter = "enter the container's pid namespace";
const clone = "make a process in the container's pid namespace";
const goHome = "go back to its own pid namespace";

/**
 * Makes one process after another, as long as somebody asks. A clone has what this one has, which is nothing of anybody's but
 * what has been passed, and takes its own socket in place of this one's: its program ends then, and it goes on with those
 * that come there.
 */
const serve: Program = [
  { syscall: "prctl", args: [f.PR_SET_NAME, "mayfly-exec", 0, 0, 0], why: "take a name that tells what it does" },
  { syscall: "prctl", args: [f.PR_SET_PDEATHSIG, f.SIGKILL, 0, 0, 0], why: "die when the daemon dies" },
  { syscall: "prctl", args: [f.PR_SET_DUMPABLE, 0, 0, 0, 0], why: "close the process to others' eyes" },
  {
    syscall: "close_range",
    args: [firstPassed, mostDescriptors - 1, 0],
    why: "let go of what was passed before",
    label: "next",
    onError: { goto: "over" },
  },
  { syscall: "getpid", args: [{ out: "room", size: 8, initial: room }], why: "keep the size of the control message" },
  {
    syscall: "recvmsg",
    args: [
      init.control,
      [0, 0, [{ out: "byte", size: 8 }, 1], 1, { out: "passed", size: controlBytes }, { ref: "room" }, 0],
      f.MSG_CMSG_CLOEXEC,
    ],
    why: "receive what the process is to have",
    onError: { goto: "over" },
    onZero: { goto: "over" },
  },
  {
    syscall: "setns",
    args: [forkedDescriptors.beside, f.CLONE_NEWPID],
    store: "entered",
    why: enter,
    onError: { goto: "refuse" },
  },
  {
    syscall: "clone",
    args: [f.CLONE_PARENT | f.SIGCHLD, 0, 0, 0, 0],
    store: "child",
    why: clone,
    onError: { goto: "refuse" },
    onZero: { goto: "child" },
  },
  // An ordinary user's cannot come back, and keeps the namespace until it enters the next one.
  { syscall: "getpid", args: [], store: "own", why: goHome },
  { syscall: "pidfd_open", args: [{ ref: "own" }, 0], store: "self", why: goHome, onError: "ignore" },
  {
    syscall: "setns",
    args: [{ ref: "self" }, f.CLONE_NEWPID],
    why: goHome,
    onError: { goto: "next" },
    onZero: { goto: "next" },
  },
  {
    syscall: "sendto",
    args: [firstPassed, [{ ref: "entered" }, { ref: "child" }], refusalBytes, f.MSG_NOSIGNAL, 0, 0],
    why: "tell why there is no process",
    label: "refuse",
    onError: { goto: "next" },
    onNonZero: { goto: "next" },
  },
  { syscall: "exit_group", args: [0], why: "end with the daemon", label: "over" },
  {
    syscall: "dup3",
    args: [firstPassed, init.control, 0],
    why: "take a socket of its own",
    label: "child",
    onError: { goto: "over" },
  },
];

/** The process, and how many bytes its clones answer at first. */
interface Server {
  readonly stage: Stage;
  readonly reply: number;
}

/**
 * Makes processes in the pid namespaces of others, by a process that waits beside this one and clones itself: neither is the
 * memory of this process shared for that, nor a program executed first. It sees nothing of what its clones are to do, so that
 * none of them has anything of another's.
 */
export class ForkServer implements AsyncDisposable {
  readonly #stages: Stages;
  #server: Server | undefined;
  /** Settles when those are gone that others have killed. */
  #dropped: Promise<unknown> = Promise.resolve();

  constructor(stages: Stages) {
    this.#stages = stages;
  }

  /**
   * Makes a process that runs the init stub, as a child of this process, in its folders, user, cgroups and namespaces but
   * for one. It has what `forkedDescriptors` tells. It is made when it gets its first program, which it finds there.
   * @param beside the pidfd of the process whose pid namespace it is to be in.
   * @param descriptors which it gets. They stay the caller's, and are to be open until then.
   * @throws resource_exhausted. Why there is no process is told to who runs the first program.
   */
  fork(beside: number, descriptors: readonly number[]): Stage {
    const { kernel } = this.#stages;
    const { own, other } = this.#stages.connect();
    const forget = () => void kernel.attempt("close", other);
    const ask = () => {
      try {
        const { stage, reply } = this.#pass([other, beside, ...descriptors]);
        return { maker: stage.process.pid, reply, refusal };
      } finally {
        forget();
      }
    };
    return new Stage(this.#stages, own, { ask, forget });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#server !== undefined) this.#drop(this.#server);
    await this.#dropped;
  }

  #pass(descriptors: readonly number[]): Server {
    const server = this.#server;
    if (server !== undefined) {
      try {
        server.stage.pass(descriptors);
        return server;
      } catch {
        // Somebody has killed it meanwhile.
        this.#drop(server);
      }
    }
    const started = this.#start();
    started.stage.pass(descriptors);
    return started;
  }

  #start(): Server {
    const stage = this.#stages.spawn(new Map([[0, null], [1, null], [2, null]]));
    try {
      return this.#server = { stage, reply: stage.begin(serve) };
    } catch (error) {
      stage.abandon().catch(() => {});
      throw error;
    }
  }

  #drop({ stage }: Server): void {
    this.#server = undefined;
    this.#dropped = Promise.allSettled([this.#dropped, stage.abandon()]);
  }
}

/** Reads what the server says when it has made no process. */
function refusal(bytes: Uint8Array<ArrayBuffer>): Failure {
  const view = new DataView(bytes.buffer);
  const [entered, child] = [0, 8].map((at) => Number(view.getBigInt64(at, true))) as [number, number];
  return entered < 0 ? syscallFailure(enter, "setns", entered) : syscallFailure(clone, "clone", child);
}
