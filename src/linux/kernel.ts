import { Failure } from "../core/errors.ts";
import type { Host, Memory } from "../core/host.ts";
import { type Arena, ArenaFull } from "./arena.ts";
import { callFlags, writeValue } from "./encode.ts";
import { errno } from "./errno.ts";
import { explainCall } from "./explain.ts";
import {
  CLONE_CLEAR_SIGHAND,
  CLONE_INTO_CGROUP,
  CLONE_PIDFD,
  CLONE_VFORK,
  CLONE_VM,
  P_PIDFD,
  SIGCHLD,
  WEXITED,
} from "./flags.ts";
import { frame } from "./frame.ts";
import { Launchers } from "./launchers.ts";
import { portArguments } from "./open_flags.ts";
import type { Argument, Operation, Program } from "./program.ts";
import { Results } from "./results.ts";
import { stepFailure } from "./step_failure.ts";
import { stub } from "./stub/mod.ts";
import { cloneArgs, context, operation, pseudo } from "./stub/layout.ts";
import { type SyscallName, type SyscallTable, syscallTable } from "./syscalls.ts";
import { syscallFailure } from "./syscall_failure.ts";
import { enlarge, load, type Loaded, Template } from "./template.ts";

export interface SpawnOptions {
  /** `CLONE_NEW*` bits: the namespaces that the child gets for itself. */
  readonly flags?: number;
  /** A cgroup v2 folder's descriptor: the child begins its life there. */
  readonly cgroupFd?: number;
}

/** A child process. The pidfd is close-on-exec and the caller's to close. */
export interface Spawned {
  readonly pid: number;
  readonly pidfd: number;
}

/**
 * The Linux kernel, called without the C library in between. Every method blocks this thread until the kernel answers, and
 * returns with nothing left behind in memory that the next call would not overwrite.
 */
export class Kernel {
  readonly host: Host;
  readonly #table: SyscallTable;
  readonly #stub: (address: number) => number;
  #arena: Arena;
  #buffers: Memory | undefined;
  #buffersUsed = 0;
  #launchers: Launchers | undefined;

  /**
   * Maps memory that is never given back: for an owner that lives as long as this process, not for a single call.
   * @throws unimplemented on a processor that has no stub; failed_precondition where machine code cannot be loaded.
   */
  constructor(host: Host) {
    this.host = host;
    this.#table = syscallTable(host.arch);
    this.#stub = host.code(stub(host.arch));
    this.#arena = enlarge(host, undefined);
  }

  /**
   * Makes a system call. Strings and bytes are copied in; to get bytes out, pass the address of a `buffer`.
   * @throws any code that an errno stands for, with `syscall` and `errno`.
   * @example
   * const fd = kernel.call("openat", AT_FDCWD, "/dev/null", O_RDWR | O_CLOEXEC);
   */
  call(name: SyscallName, ...args: Argument[]): number {
    const result = this.attempt(name, ...args);
    if (result < 0 && result >= -maxErrno) throw syscallFailure(explainCall(name, args), name, result);
    return result;
  }

  /** Makes a system call that may fail. @returns its result, or -errno. */
  attempt(name: SyscallName, ...given: Argument[]): number {
    const args = portArguments(this.#table, name, given);
    for (;;) {
      try {
        const arena = this.#arena;
        arena.cursor = frame.size;
        const number = this.#table[name];
        if (number === undefined) {
          throw new Failure("unimplemented", `cannot call ${name}: ${this.host.arch} has no such system call`);
        }
        arena.int32(frame.singleOperation + operation.number, number);
        arena.int32(frame.singleOperation + operation.flags, callFlags(name));
        for (let i = 0; i < 6; i++) {
          const word = frame.singleOperation + operation.args + i * 8;
          if (i < args.length) writeValue(arena, word, args[i] as Argument);
          else arena.word(word, 0);
        }
        return this.#stub(arena.address(frame.single));
      } catch (error) {
        if (!(error instanceof ArenaFull)) throw error;
        this.#arena = enlarge(this.host, this.#arena);
      }
    }
  }

  /**
   * Runs a program in this thread.
   * @throws what the failing step's errno stands for: the message begins with its `why`, `details.step` is its index.
   */
  run(program: Program | Template): Results {
    const loaded = this.#load(program);
    const last = this.#enter(loaded);
    const failed = this.#error(loaded);
    if (failed !== undefined) throw failed;
    return new Results(loaded, last);
  }

  /**
   * Makes a child that runs a program, which is to end in execve. The child has no signal handlers, every signal at its
   * default, none blocked, copies of all descriptors, and shares this process's memory until it executes; this thread
   * sleeps that long. A program that ends otherwise is the child's end, with status 0.
   * @throws as `run`; aborted when the child was killed before its program's end. The child is gone then.
   */
  spawn(program: Program | Template, options: SpawnOptions = {}): Spawned {
    const loaded = this.#load(program);
    try {
      this.#asChild(loaded, options);
      return this.#executed(loaded, this.#enter(loaded));
    } finally {
      loaded.arena.word(frame.context + context.clone, 0);
    }
  }

  /**
   * As `spawn`, but another thread sleeps in this one's place. The template, and the descriptors that it uses, are the
   * child's until the promise settles.
   */
  async spawnBeside(template: Template, options: SpawnOptions = {}): Promise<Spawned> {
    const loaded = this.#load(template);
    this.#launchers ??= new Launchers(this, this.#stub);
    try {
      this.#asChild(loaded, options);
      return this.#executed(loaded, await this.#launchers.launch(loaded.arena));
    } finally {
      loaded.arena.word(frame.context + context.clone, 0);
    }
  }

  /** Has a program be a child's. */
  #asChild({ arena }: Loaded, { flags = 0, cgroupFd }: SpawnOptions): void {
    const clone = frame.clone;
    arena.int32(clone + cloneArgs.flags, CLONE_VM | CLONE_VFORK | CLONE_PIDFD | flags);
    const wide = cgroupFd === undefined ? CLONE_CLEAR_SIGHAND : CLONE_CLEAR_SIGHAND + CLONE_INTO_CGROUP;
    arena.int32(clone + cloneArgs.flags + 4, wide / 0x1_0000_0000);
    arena.int32(clone + cloneArgs.exitSignal, SIGCHLD);
    arena.word(clone + cloneArgs.cgroup, cgroupFd ?? 0);
    arena.pointer(frame.context + context.clone, clone);
  }

  /**
   * The child that has been made, at its end or behind its execve.
   * @param pid what clone3 has returned. @throws what that or its program failed with; nothing is left then.
   */
  #executed(loaded: Loaded, pid: number): Spawned {
    if (pid < 0) {
      const cure = pid === -errno.ENOSYS ? ": want Linux 5.7 or newer" : "";
      throw syscallFailure(`make a child process${cure}`, "clone3", pid);
    }
    const pidfd = loaded.arena.readInt32(frame.pidfd);
    const failed = this.#error(loaded) ?? this.#killed(loaded);
    if (failed === undefined) return { pid, pidfd };
    this.attempt("waitid", P_PIDFD, pidfd, 0, WEXITED, 0);
    this.attempt("close", pidfd);
    throw failed;
  }

  /**
   * Lays a program out once, for many runs. The same rules as for a program apply; arguments that change are
   * `{ hole: name }`.
   * @example
   * const plan = kernel.compile([{ syscall: "chdir", args: [{ hole: "folder" }], why: "enter the folder" }]);
   * kernel.run(plan.fill({ folder: "/tmp" }));
   */
  compile(program: Program): Template {
    return new Template(this.host, this.#table, program);
  }

  /**
   * Takes memory for the kernel to fill, for the life of this object: a caller takes it once and uses it often.
   * @example
   * const ends = kernel.buffer(8);
   * kernel.call("pipe2", ends.address, O_CLOEXEC);
   */
  buffer(byteLength: number): Pick<Memory, "address" | "bytes"> {
    const taken = (byteLength + 15) & ~15;
    if (this.#buffers === undefined || this.#buffersUsed + taken > this.#buffers.bytes.length) {
      this.#buffers = this.host.map(Math.max(taken, 4096));
      this.#buffersUsed = 0;
    }
    const start = this.#buffersUsed;
    this.#buffersUsed += taken;
    return { address: this.#buffers.address + start, bytes: this.#buffers.bytes.subarray(start, start + byteLength) };
  }

  #load(program: Program | Template): Loaded {
    if (program instanceof Template) {
      if (program.filled) return program;
      throw new Failure("invalid_argument", "cannot run a template that is not filled");
    }
    for (;;) {
      try {
        const loaded = load(program, this.#arena, this.#table);
        if (loaded.encoded.holes.size === 0) return loaded;
        throw new Failure("invalid_argument", "cannot run a program that has holes: compile it and fill them");
      } catch (error) {
        if (!(error instanceof ArenaFull)) throw error;
        this.#arena = enlarge(this.host, this.#arena);
      }
    }
  }

  /** Calls the stub. */
  #enter({ arena }: Loaded): number {
    arena.word(frame.context + context.error, 0);
    return this.#stub(arena.address(frame.context));
  }

  /** Why the program did not come to its end. */
  #error({ program, arena }: Loaded): Failure | undefined {
    const number = -arena.readInt32(frame.context + context.error);
    if (number === 0) return undefined;
    const index = arena.readInt32(lastOperation(arena) + operation.index);
    return stepFailure(program, index, number);
  }

  /** Tells whether the child has gone at a step from which none goes by itself. */
  #killed({ program, arena }: Loaded): Failure | undefined {
    const at = lastOperation(arena);
    if (arena.readInt32(at + operation.number) === pseudo.end) return undefined;
    const index = arena.readInt32(at + operation.index);
    const { why, syscall } = program[index] as Operation;
    if (lastCalls.has(syscall)) return undefined;
    return new Failure("aborted", `${why}: the child was killed`, { syscall, details: { step: index } });
  }
}

const maxErrno = 4095;

/** The calls with which a child's program ends. */
const lastCalls: ReadonlySet<SyscallName> = new Set(["execve", "execveat", "exit", "exit_group"]);

/** The offset of the operation that was begun last. */
function lastOperation(arena: Arena): number {
  return arena.read(frame.context + context.current) - arena.address(0);
}
