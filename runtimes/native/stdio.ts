import * as f from "../../src/linux/flags.ts";
import type { Operation } from "../../src/linux/program.ts";
import { type Piped, streamNames } from "../../src/linux/stdio_pipes.ts";

/** Out of the way of 0, 1 and 2, which are overwritten one after the other. */
const reserved = 100;

/**
 * Puts the standard streams in place and closes every other descriptor of the daemon. It comes first: no path in the image
 * can then lead back to one of them (`/proc/self/fd/7`), and the container starts with three descriptors. The holes
 * `stdin`, `stdout` and `stderr` are the container's ends of the pipes, none of which is below 3.
 */
export function* arrangeStdio(stdio: Piped, uid: number): Generator<Operation> {
  if (!(stdio.stdin && stdio.stdout && stdio.stderr)) {
    yield { syscall: "openat", args: [f.AT_FDCWD, "/dev/null", f.O_RDWR, 0], store: "null", why: "open /dev/null" };
    yield { syscall: "fcntl", args: [{ ref: "null" }, f.F_DUPFD, reserved], store: "null", why: "move /dev/null" };
  }
  for (const [index, name] of streamNames.entries()) {
    yield { syscall: "dup3", args: [stdio[name] ? { hole: name } : { ref: "null" }, index, 0], why: `set up ${name}` };
    // A program that opens /dev/stdout opens the pipe again, as its own user.
    if (uid !== 0 && stdio[name]) {
      yield { syscall: "fchown", args: [index, uid, -1], why: `give ${name} to user ${uid}` };
    }
  }
  yield { syscall: "close_range", args: [3, 0xffff_ffff, 0], why: "close every descriptor of the daemon" };
}
