import { Failure } from "../core/errors.ts";
import type { Children } from "./children.ts";
import { programFolders } from "./find_program.ts";
import * as f from "./flags.ts";
import type { Kernel } from "./kernel.ts";
import type { Operation } from "./program.ts";

/** A program of this machine, to be run to its end. */
export interface HelperProgram {
  /** The program's absolute path and its arguments. */
  readonly args: readonly string[];
  /** `NAME=value`. Default: PATH alone. */
  readonly env?: readonly string[];
  /** What it reads. Default: nothing. */
  readonly input?: Uint8Array;
  /** What it has from descriptor 3 on. Default: nothing. */
  readonly descriptors?: readonly (number | undefined)[];
  /** `CLONE_NEW*`: namespaces of its own. */
  readonly flags?: number;
  /** What its process does before it is executed. */
  readonly prepare?: readonly Operation[];
  /** After which it is killed. Default: never. */
  readonly timeoutMs?: number;
}

export interface HelperOutcome {
  /** As `ChildExit.code`. */
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** What a helper gets as its environment, unless it is told otherwise. */
export const helperEnvironment: readonly string[] = [`PATH=${programFolders.join(":")}`];

/** Above the standard streams and whatever else is put in place: sources are moved there first. */
const reserved = 100;

/** More output than this belongs to no helper: the rest is left out. */
const outputLimitBytes = 1 << 20;

/**
 * Starts a program of this machine through the launch stub and waits for its end. A host's own `spawn()` would copy the
 * page tables of this process, and hold the event loop that long. Its streams are files in memory: whoever it leaves behind
 * with them is not waited for.
 * @throws what starting it throws; deadline_exceeded.
 */
export async function runHelper(kernel: Kernel, children: Children, helper: HelperProgram): Promise<HelperOutcome> {
  using cleanup = new DisposableStack();
  const open = (name: string) => {
    const fd = kernel.call("memfd_create", name, f.MFD_CLOEXEC);
    cleanup.defer(() => kernel.attempt("close", fd));
    return fd;
  };
  const stdin = helper.input === undefined ? undefined : open("stdin");
  if (stdin !== undefined && helper.input !== undefined) fill(kernel, stdin, helper.input);
  const [stdout, stderr] = [open("stdout"), open("stderr")];
  const { pidfd } = kernel.spawn([
    ...placeDescriptors([stdin, stdout, stderr, ...helper.descriptors ?? []]),
    ...helper.prepare ?? [],
    executeHelper(helper.args, helper.env),
  ], helper.flags === undefined ? {} : { flags: helper.flags });
  cleanup.defer(() => kernel.attempt("close", pidfd));
  let late = false;
  const timer = helper.timeoutMs === undefined ? undefined : setTimeout(() => {
    late = true;
    kernel.attempt("pidfd_send_signal", pidfd, f.SIGKILL, 0, 0);
  }, helper.timeoutMs);
  const { code } = await children.wait(pidfd).finally(() => clearTimeout(timer));
  if (late) {
    throw new Failure(
      "deadline_exceeded",
      `${JSON.stringify(helper.args[0])} did not end within ${helper.timeoutMs} ms, and was killed`,
    );
  }
  return { code, stdout: textOf(kernel, stdout), stderr: textOf(kernel, stderr) };
}

/**
 * Puts descriptors at 0, 1, 2, … and has all others closed when the program is executed.
 * @param sources which descriptor goes where; undefined is /dev/null. A hole is one that is given later.
 */
export function* placeDescriptors(sources: readonly (number | undefined)[]): Generator<Operation> {
  for (const [index, source] of sources.entries()) {
    const store = `place:${index}`;
    const why = `set up descriptor ${index}`;
    if (source === undefined) {
      yield { syscall: "openat", args: [f.AT_FDCWD, "/dev/null", f.O_RDWR | f.O_CLOEXEC, 0], store, why };
      yield { syscall: "fcntl", args: [{ ref: store }, f.F_DUPFD_CLOEXEC, reserved], store, why };
    } else {
      yield { syscall: "fcntl", args: [source, f.F_DUPFD_CLOEXEC, reserved], store, why };
    }
  }
  for (const index of sources.keys()) {
    yield { syscall: "dup3", args: [{ ref: `place:${index}` }, index, 0], why: `set up descriptor ${index}` };
  }
  yield {
    syscall: "close_range",
    args: [sources.length, 0xffff_ffff, f.CLOSE_RANGE_CLOEXEC],
    why: "close every other descriptor when it is executed",
  };
}

function executeHelper(args: readonly string[], env: readonly string[] = helperEnvironment): Operation {
  const [program = ""] = args;
  return { syscall: "execve", args: [program, [...args, 0], [...env, 0]], why: `execute ${JSON.stringify(program)}` };
}

function fill(kernel: Kernel, fd: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length;) at += kernel.call("write", fd, bytes.subarray(at), bytes.length - at);
  kernel.call("lseek", fd, 0, f.SEEK_SET);
}

function textOf(kernel: Kernel, fd: number): string {
  const decoder = new TextDecoder();
  const size = 16384;
  let text = "";
  for (let at = 0; at < outputLimitBytes;) {
    const read = kernel.run([{ syscall: "pread64", args: [fd, { out: "text", size }, size, at], why: "read output" }]);
    if (read.last === 0) break;
    text += decoder.decode(read.bytes("text").subarray(0, read.last), { stream: true });
    at += read.last;
  }
  return text + decoder.decode();
}
