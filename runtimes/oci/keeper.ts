import { Failure } from "../../src/core/errors.ts";
import type { ChildExit, Children } from "../../src/linux/children.ts";
import { errno } from "../../src/linux/errno.ts";
import * as f from "../../src/linux/flags.ts";
import { helperEnvironment, placeDescriptors } from "../../src/linux/helper_program.ts";
import type { Kernel } from "../../src/linux/kernel.ts";
import { pipe } from "../../src/linux/pipe.ts";
import type { Operation } from "../../src/linux/program.ts";
import { syscallFailure } from "../../src/linux/syscall_failure.ts";
import { keeperX64 } from "./keeper_x64.ts";

/** Above what a child puts in place for the program that it executes. */
const reserved = 100;

/** What `Keepers.start` starts. */
export interface KeptCommand {
  /** The runtime's program, as an absolute path, and its arguments. */
  readonly args: readonly string[];
  /** The descriptors that the command, and by it the container, gets as standard streams; undefined is /dev/null. */
  readonly stdio: readonly [stdin: number | undefined, stdout: number | undefined, stderr: number | undefined];
  /** Another keeper, whose mount namespace is joined. Default: one of its own is made. */
  readonly inside?: Keeper | undefined;
  /** `NAME=value`, for the command. Default: PATH alone. */
  readonly env?: readonly string[] | undefined;
  /** What happens in the mount namespace before the keeper is executed. */
  readonly prepare: readonly Operation[];
}

/**
 * Starts commands below keepers (`keeper_x64.s`). A container that an OCI runtime makes is no child of this process, which
 * alone could wait for it. Being the daemon a subreaper would make every orphan of every helper and every container its
 * child, and only the JavaScript runtime knows which of those it has started itself and waits for; a pidfd tells the end of
 * any process, but its status only from Linux 6.15 on. A keeper is a subreaper of this one container, in 300 bytes.
 */
export class Keepers implements Disposable {
  readonly #kernel: Kernel;
  readonly #children: Children;
  readonly #program: number;

  /** @throws failed_precondition where programs cannot be executed out of memory. */
  constructor(kernel: Kernel, children: Children) {
    this.#kernel = kernel;
    this.#children = children;
    this.#program = keeperProgram(kernel);
  }

  [Symbol.dispose](): void {
    this.#kernel.attempt("close", this.#program);
  }

  start({ args, stdio, inside, env = helperEnvironment, prepare }: KeptCommand): Keeper {
    const kernel = this.#kernel;
    const reports = pipe(kernel);
    try {
      const child = kernel.spawn([
        ...placeDescriptors([...stdio, reports.write]),
        { syscall: "setsid", args: [], why: "leave the daemon's session" },
        ...inside?.join() ?? [],
        ...prepare,
        {
          syscall: "execveat",
          args: [this.#program, "", ["keeper", ...args, 0], [...env, 0], f.AT_EMPTY_PATH],
          why: "execute the keeper",
        },
      ], { flags: inside === undefined ? f.CLONE_NEWNS : 0 });
      return new Keeper(kernel, this.#children.wait(child.pidfd), child, reports.read);
    } catch (error) {
      kernel.attempt("close", reports.read);
      throw error;
    } finally {
      kernel.attempt("close", reports.write);
    }
  }
}

/** One keeper: what it starts and adopts, and how that ends. */
export class Keeper {
  readonly pid: number;
  /** How the command ended. @throws unavailable when the keeper was killed first. */
  readonly command: Promise<ChildExit>;
  /** Resolves when the keeper is gone. */
  readonly gone: Promise<void>;
  readonly #kernel: Kernel;
  readonly #pidfd: number;
  readonly #exits = new Map<number, PromiseWithResolvers<ChildExit>>();
  /** Its mount namespace. */
  #mounts: number;
  #open = true;

  constructor(
    kernel: Kernel,
    ended: Promise<unknown>,
    child: { readonly pid: number; readonly pidfd: number },
    reports: number,
  ) {
    this.#kernel = kernel;
    this.pid = child.pid;
    this.#pidfd = child.pidfd;
    this.#mounts = mountNamespace(kernel, child.pid);
    const command = Promise.withResolvers<ChildExit>();
    this.command = command.promise;
    this.command.catch(() => {});
    const read = this.#read(kernel.host.readable(reports), command).finally(() => command.reject(lost()));
    this.gone = Promise.allSettled([ended, read]).then(() => {
      this.#open = false;
      kernel.attempt("close", child.pidfd);
      for (const exit of this.#exits.values()) exit.reject(lost());
    });
  }

  /** How a process that the command left behind ended. @throws unavailable when the keeper was killed first. */
  exit(pid: number): Promise<ChildExit> {
    if (!this.#open && !this.#exits.has(pid)) return Promise.reject(lost());
    const { promise } = this.#exitOf(pid);
    promise.catch(() => {});
    return promise;
  }

  /** What a child does to enter its mount namespace, where the container's root filesystem is, also when it has ended. */
  *join(): Generator<Operation> {
    yield { syscall: "setns", args: [this.#mounts, f.CLONE_NEWNS], why: "enter the keeper's mount namespace" };
  }

  /** Ends it, and lets go of its mount namespace. What it has adopted goes on, a child of somebody else. */
  async end(): Promise<void> {
    if (this.#open) this.#kernel.attempt("pidfd_send_signal", this.#pidfd, f.SIGKILL, 0, 0);
    await this.gone;
    if (this.#mounts >= 0) this.#kernel.attempt("close", this.#mounts);
    this.#mounts = -1;
  }

  async #read(reports: ReadableStream<Uint8Array>, command: PromiseWithResolvers<ChildExit>): Promise<void> {
    let first: number | undefined;
    let rest = new Uint8Array(0);
    for await (const chunk of reports) {
      const bytes = new Uint8Array(rest.length + chunk.length);
      bytes.set(rest);
      bytes.set(chunk, rest.length);
      const view = new DataView(bytes.buffer);
      const whole = bytes.length - bytes.length % 8;
      for (let at = 0; at < whole; at += 8) {
        const [pid, status] = [view.getInt32(at, true), view.getInt32(at + 4, true)];
        if (first === undefined) first = pid;
        else if (pid === first) command.resolve(exitOf(status));
        else this.#exitOf(pid).resolve(exitOf(status));
      }
      rest = bytes.subarray(whole);
    }
  }

  #exitOf(pid: number): PromiseWithResolvers<ChildExit> {
    let exit = this.#exits.get(pid);
    if (exit === undefined) {
      exit = Promise.withResolvers<ChildExit>();
      this.#exits.set(pid, exit);
    }
    return exit;
  }
}

/** Opens a process's mount namespace, out of the way of what a child puts in place. */
function mountNamespace(kernel: Kernel, pid: number): number {
  const fd = kernel.attempt("openat", f.AT_FDCWD, `/proc/${pid}/ns/mnt`, f.O_RDONLY | f.O_CLOEXEC, 0);
  // One that has ended already has none: joining it fails.
  if (fd < 0) return -1;
  const moved = kernel.attempt("fcntl", fd, f.F_DUPFD_CLOEXEC, reserved);
  kernel.attempt("close", fd);
  return moved;
}

/** Reads a wait status. @see https://man7.org/linux/man-pages/man2/wait.2.html */
function exitOf(status: number): ChildExit {
  const signal = status & 0x7f;
  const usage = { userMicros: 0, systemMicros: 0 };
  return signal === 0 ? { code: status >> 8 & 0xff, signal: undefined, usage } : { code: 128 + signal, signal, usage };
}

function lost(): Failure {
  return new Failure("unavailable", "cannot tell how a process ended: its keeper was killed");
}

/** Writes the keeper into a file in memory that nobody can change. */
function keeperProgram(kernel: Kernel): number {
  const make = (flags: number) => kernel.attempt("memfd_create", "mayfly-keeper", f.MFD_CLOEXEC | flags);
  // Kernels before 6.3 do not know the flag, and need none.
  const withExec = make(f.MFD_ALLOW_SEALING | f.MFD_EXEC);
  const fd = withExec === -errno.EINVAL ? make(f.MFD_ALLOW_SEALING) : withExec;
  if (fd === -errno.EACCES) {
    throw new Failure(
      "failed_precondition",
      "cannot execute programs out of memory: set the sysctl vm.memfd_noexec to 0 or 1",
      { syscall: "memfd_create", errno: "EACCES" },
    );
  }
  if (fd < 0) throw syscallFailure("cannot make a file in memory", "memfd_create", fd);
  try {
    kernel.call("write", fd, keeperX64, keeperX64.length);
    kernel.call("fcntl", fd, f.F_ADD_SEALS, f.F_SEAL_WRITE | f.F_SEAL_GROW | f.F_SEAL_SHRINK | f.F_SEAL_SEAL);
    return kernel.call("fcntl", fd, f.F_DUPFD_CLOEXEC, reserved);
  } finally {
    kernel.attempt("close", fd);
  }
}
