import * as f from "./flags.ts";
import type { Program } from "./program.ts";
import type { Results } from "./results.ts";
import { type Birth, Stage } from "./stage.ts";
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

const enter = "enter the container's pid namespace";
const clone = "make a process in the container's pid namespace";
const goHome = "go back to its own pid namespace";

const letGo = {
  syscall: "close_range",
  args: [firstPassed, mostDescriptors - 1, 0],
  why: "let go of what was passed",
} as const;

/**
 * Makes one process. The clone has what this one has, which is nothing of anybody's but what has been passed, and takes its
 * own socket in place of this one's, so that it goes on with the programs that come there.
 */
const fork: Program = [
  { syscall: "prctl", args: [f.PR_SET_NAME, "mayfly-exec", 0, 0, 0], why: "take a name that tells what it does" },
  { syscall: "prctl", args: [f.PR_SET_PDEATHSIG, f.SIGKILL, 0, 0, 0], why: "die when the daemon dies" },
  { syscall: "prctl", args: [f.PR_SET_DUMPABLE, 0, 0, 0, 0], why: "close the process to others' eyes" },
  letGo,
  {
    syscall: "recvmsg",
    args: [
      init.control,
      [0, 0, [{ out: "byte", size: 8 }, 1], 1, { out: "passed", size: controlBytes }, controlBytes, 0],
      f.MSG_CMSG_CLOEXEC,
    ],
    why: "receive what the process is to have",
  },
  {
    syscall: "setns",
    args: [forkedDescriptors.beside, f.CLONE_NEWPID],
    store: "entered",
    why: enter,
    onError: { goto: "clean" },
  },
  {
    syscall: "clone",
    args: [f.CLONE_PARENT | f.SIGCHLD, 0, 0, 0, 0],
    store: "child",
    why: clone,
    onError: "ignore",
    onZero: { goto: "child" },
  },
  // Behind the clone nothing keeps it from telling which process it has made. An ordinary user's may not go back.
  { ...letGo, label: "clean", onError: "ignore" },
  { syscall: "getpid", args: [], store: "own", why: goHome, onError: "ignore" },
  { syscall: "pidfd_open", args: [{ ref: "own" }, 0], store: "self", why: goHome, onError: "ignore" },
  { syscall: "setns", args: [{ ref: "self" }, f.CLONE_NEWPID], why: goHome, onError: "ignore" },
  { syscall: "close", args: [{ ref: "self" }], why: goHome, onError: { goto: "end" }, onZero: { goto: "end" } },
  { syscall: "exit_group", args: [1], why: "never answer in another's place", label: "lost" },
  {
    syscall: "dup3",
    args: [firstPassed, init.control, 0],
    why: "take a socket of its own",
    label: "child",
    onError: { goto: "lost" },
  },
];

/**
 * Makes processes in the pid namespaces of others, by a process that waits beside this one and clones itself: neither the
 * memory of this process is copied for that, nor a program executed first. It sees nothing of what its clones are to do,
 * so that none of them has anything of another's.
 */
export class ForkServer implements AsyncDisposable {
  readonly #stages: Stages;
  #server: Stage | undefined;
  /** Settles when all that was asked of it so far is answered. */
  #answered: Promise<unknown> = Promise.resolve();

  constructor(stages: Stages) {
    this.#stages = stages;
  }

  /**
   * Makes a process that runs the init stub, as a child of this process, in its folders, user, cgroups and namespaces but
   * for one. It has what `forkedDescriptors` tells, and takes programs at once.
   * @param beside the pidfd of the process whose pid namespace it is to be in.
   * @param descriptors which it gets. They stay the caller's.
   * @throws resource_exhausted. What is found out later is told to whom asks something of the process.
   */
  fork(beside: number, descriptors: readonly number[]): Stage {
    const { kernel } = this.#stages;
    const { own, other } = this.#stages.connect();
    try {
      return new Stage(this.#stages, own, this.#ask([other, beside, ...descriptors]));
    } catch (error) {
      kernel.attempt("close", own);
      throw error;
    } finally {
      kernel.attempt("close", other);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    await server?.abandon();
    await this.#answered;
  }

  #ask(passed: readonly number[]): Birth {
    const server = this.#server;
    if (server === undefined) return this.#request(this.#start(), passed);
    try {
      return this.#request(server, passed);
    } catch {
      // Somebody has killed it meanwhile.
      return this.#request(this.#start(), passed);
    }
  }

  #request(server: Stage, passed: readonly number[]): Birth {
    try {
      const { reply, end } = server.ahead(fork);
      server.pass(passed);
      return { pid: this.#inTurn(server, end).then(pidOf), reply };
    } catch (error) {
      this.#drop(server);
      throw error;
    }
  }

  #start(): Stage {
    return this.#server = this.#stages.spawn(new Map([[0, null], [1, null], [2, null]]));
  }

  /** Waits for an answer of the server's, behind those to what was asked before. */
  #inTurn(server: Stage, end: () => Promise<Results>): Promise<Results> {
    const answer = this.#answered.then(end);
    this.#answered = answer.catch(() => this.#drop(server));
    return answer;
  }

  /** Ends one that cannot go on: it may be in the middle of a request. */
  #drop(server: Stage): void {
    if (this.#server === server) this.#server = undefined;
    this.#answered = Promise.allSettled([this.#answered, server.abandon()]);
  }
}

/** @throws why no process was made. */
function pidOf(results: Results): number {
  const [entered, child] = [results.get("entered"), results.get("child")];
  if (entered < 0) throw syscallFailure(enter, "setns", entered);
  if (child < 0) throw syscallFailure(clone, "clone", child);
  return child;
}
