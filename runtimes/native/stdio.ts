import * as f from "../../src/linux/flags.ts";
import type { Operation } from "../../src/linux/program.ts";
import { statxMask } from "../../src/linux/statx.ts";
import type { Kernel } from "../../src/linux/kernel.ts";
import { type StdioSources, streamNames } from "../../src/linux/stdio_pipes.ts";

/**
 * What each standard stream of a process is: /dev/null, a pipe that becomes its user's, or something else that stays its
 * owner's.
 */
export type StdioKinds = Readonly<Record<(typeof streamNames)[number], "null" | "pipe" | "other">>;

/** What a process has that is given a terminal. */
export const noStreams = { stdin: false, stdout: false, stderr: false } as const;

/** Looks at what a process is to be given. @throws internal for a descriptor that is not open. */
export function stdioKinds(kernel: Kernel, stdio: Partial<StdioSources> = {}): StdioKinds {
  const kind = (source: boolean | number = true) =>
    typeof source === "number" ? kindOf(kernel, source) : source ? "pipe" : "null";
  return { stdin: kind(stdio.stdin), stdout: kind(stdio.stdout), stderr: kind(stdio.stderr) };
}

/** Pipes and sockets are made for one process; a terminal or a file is the caller's. */
function kindOf(kernel: Kernel, fd: number): "pipe" | "other" {
  const status = kernel.run([{
    syscall: "statx",
    args: [fd, "", f.AT_EMPTY_PATH, statxMask, { out: "status", size: 256 }],
    why: `look at descriptor ${fd}`,
  }]).bytes("status");
  const type = new DataView(status.buffer, status.byteOffset).getUint16(modeOffset, true) & f.S_IFMT;
  return type === f.S_IFIFO || type === f.S_IFSOCK ? "pipe" : "other";
}

/** Of `stx_mode` in `struct statx`. */
const modeOffset = 28;

/** Out of the way of 0, 1 and 2, which are overwritten one after the other. */
const reserved = 100;

/**
 * Puts the standard streams in place and closes every other descriptor of the daemon. It comes first: no path in the image
 * can then lead back to one of them (`/proc/self/fd/7`), and the container starts with three descriptors. The holes
 * `stdin`, `stdout` and `stderr` are the container's ends of the pipes, none of which is below 3.
 */
export function* arrangeStdio(stdio: StdioKinds, uid: number): Generator<Operation> {
  if (streamNames.some((name) => stdio[name] === "null")) {
    yield { syscall: "openat", args: [f.AT_FDCWD, "/dev/null", f.O_RDWR, 0], store: "null", why: "open /dev/null" };
    yield { syscall: "fcntl", args: [{ ref: "null" }, f.F_DUPFD, reserved], store: "null", why: "move /dev/null" };
  }
  for (const [index, name] of streamNames.entries()) {
    yield {
      syscall: "dup3",
      args: [stdio[name] === "null" ? { ref: "null" } : { hole: name }, index, 0],
      why: `set up ${name}`,
    };
  }
  yield* giveStdio(stdio, uid);
  yield { syscall: "close_range", args: [3, 0xffff_ffff, 0], why: "close every descriptor of the daemon" };
}

/** A program that opens /dev/stdout opens the pipe again, as its own user. */
export function* giveStdio(stdio: StdioKinds, uid: number): Generator<Operation> {
  if (uid === 0) return;
  for (const [index, name] of streamNames.entries()) {
    if (stdio[name] === "pipe") {
      yield { syscall: "fchown", args: [index, uid, -1], why: `give ${name} to user ${uid}` };
    }
  }
}
