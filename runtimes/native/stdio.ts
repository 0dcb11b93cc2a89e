import * as f from "../../src/linux/flags.ts";
import type { Operation } from "../../src/linux/program.ts";

/** The container's ends of its pipes, as descriptors of the daemon; undefined for what is /dev/null. */
export interface StdioEnds {
  readonly stdin: number | undefined;
  readonly stdout: number | undefined;
  readonly stderr: number | undefined;
}

/** Out of the way of 0, 1 and 2, which are overwritten one after the other. */
const reserved = 100;

/**
 * Puts the standard streams in place and closes every other descriptor of the daemon. It comes first: no path in the image
 * can then lead back to one of them (`/proc/self/fd/7`), and the container starts with three descriptors.
 */
export function* arrangeStdio(ends: StdioEnds, uid: number): Generator<Operation> {
  const streams = [ends.stdin, ends.stdout, ends.stderr] as const;
  // An end may itself be 0, 1 or 2 where the daemon runs with closed streams.
  const sources = streams.map((fd, index) => fd !== undefined && fd <= 2 ? { ref: `end:${index}` } : fd);
  for (const [index, fd] of streams.entries()) {
    if (fd === undefined || fd > 2) continue;
    yield { syscall: "fcntl", args: [fd, f.F_DUPFD, reserved], store: `end:${index}`, why: `move stream ${index}` };
  }
  if (streams.includes(undefined)) {
    yield {
      syscall: "openat",
      args: [f.AT_FDCWD, "/dev/null", f.O_RDWR, 0],
      store: "null",
      why: "open /dev/null",
    };
    yield { syscall: "fcntl", args: [{ ref: "null" }, f.F_DUPFD, reserved], store: "null", why: "move /dev/null" };
  }
  for (const [index, source] of sources.entries()) {
    yield { syscall: "dup3", args: [source ?? { ref: "null" }, index, 0], why: `set up stream ${index}` };
    // A program that opens /dev/stdout opens the pipe again, as its own user.
    if (uid !== 0 && source !== undefined) {
      yield { syscall: "fchown", args: [index, uid, -1], why: `give stream ${index} to user ${uid}` };
    }
  }
  yield { syscall: "close_range", args: [3, 0xffff_ffff, 0], why: "close every descriptor of the daemon" };
}
