import type { SpecProcess } from "../../src/core/spec.ts";
import * as f from "../../src/linux/flags.ts";
import type { Operation } from "../../src/linux/program.ts";
import { announcement } from "../../src/linux/stage.ts";
import { init } from "../../src/linux/stub/layout.ts";
import { windowSize } from "../../src/linux/terminal_relay.ts";
import { quote } from "./steps.ts";

const console = "/dev/console";
const multiplexer = "/dev/pts/ptmx";

/**
 * Makes a terminal of the container's own, which becomes the process's controlling terminal and its three streams, and
 * sends its other end to the daemon.
 *
 * The slave is never looked for by a name, which a container could have put something else at: the kernel opens it for who
 * has the master.
 * @param options.console whether it is the container's console too.
 */
export function* openTerminal(
  { consoleSize }: SpecProcess,
  uid: number,
  options: { readonly console: boolean },
): Generator<Operation> {
  const [master, slave] = [{ ref: "master" }, { ref: "slave" }];
  const flags = f.O_RDWR | f.O_NOCTTY | f.O_CLOEXEC;
  const open = `open a terminal at ${quote(multiplexer)}`;
  // What is no terminal is not waited for.
  yield {
    syscall: "openat",
    args: [f.AT_FDCWD, multiplexer, flags | f.O_NONBLOCK | f.O_NOFOLLOW, 0],
    store: "master",
    why: open,
  };
  yield { syscall: "ioctl", args: [master, f.TIOCSPTLCK, [0]], why: open };
  yield { syscall: "fcntl", args: [master, f.F_SETFL, f.O_RDWR], why: "let reading from the terminal wait" };
  yield {
    syscall: "ioctl",
    args: [master, f.TIOCGPTPEER, flags],
    store: "slave",
    why: "open the terminal's other end",
  };
  if (consoleSize) {
    yield { syscall: "ioctl", args: [master, f.TIOCSWINSZ, windowSize(consoleSize)], why: "set its size" };
  }
  yield { syscall: "fchown", args: [slave, uid, -1], why: `give the terminal to user ${uid}` };
  yield { syscall: "ioctl", args: [slave, f.TIOCSCTTY, 0], why: "make it the controlling terminal" };
  for (const target of [0, 1, 2]) {
    yield { syscall: "dup3", args: [slave, target, 0], why: `make the terminal descriptor ${target}` };
  }
  if (options.console) yield* bindConsole();
  // An announcement, and the descriptor with it. @see https://man7.org/linux/man-pages/man3/cmsg.3.html
  const control = [20, f.SOL_SOCKET + f.SCM_RIGHTS * 2 ** 32, master];
  const message = [0, 0, [announcement, 1], 1, control, control.length * 8, 0];
  yield { syscall: "sendmsg", args: [init.control, message, f.MSG_NOSIGNAL], why: "send the terminal to the daemon" };
  for (const fd of [master, slave]) yield { syscall: "close", args: [fd], why: "close the terminal" };
}

function* bindConsole(): Generator<Operation> {
  const why = `bind the terminal to ${quote(console)}`;
  const mode = f.S_IFREG | 0o600;
  yield { syscall: "mknodat", args: [f.AT_FDCWD, console, mode, 0], why, onError: "ignore" };
  yield {
    syscall: "open_tree",
    args: [{ ref: "slave" }, "", f.OPEN_TREE_CLONE | f.OPEN_TREE_CLOEXEC | f.AT_EMPTY_PATH],
    store: "console",
    why,
  };
  // A link there is not followed.
  yield {
    syscall: "move_mount",
    args: [{ ref: "console" }, "", f.AT_FDCWD, console, f.MOVE_MOUNT_F_EMPTY_PATH],
    why,
  };
  yield { syscall: "close", args: [{ ref: "console" }], why };
}
