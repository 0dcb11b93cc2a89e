import { basename, dirname } from "node:path";
import * as f from "../../src/linux/flags.ts";
import type { Kernel } from "../../src/linux/kernel.ts";

/** The most that `sun_path` takes, without its NUL. */
const longestPath = 107;

/** What is sent with the descriptor: a name for it, which is read and not used. */
const name = "/dev/ptmx";

const encoder = new TextEncoder();

/**
 * Sends a terminal's master to who listens on a Unix socket.
 * @throws not_found when there is no such socket; unavailable when nobody listens.
 * @see https://github.com/opencontainers/runc/blob/v1.2.0/docs/terminals.md
 */
export function sendTerminal(kernel: Kernel, path: string, master: number): void {
  using opened = new DisposableStack();
  const hold = (fd: number) => opened.adopt(fd, (each) => void kernel.attempt("close", each));
  let short = path;
  if (encoder.encode(path).length > longestPath) {
    const flags = f.O_PATH | f.O_DIRECTORY | f.O_CLOEXEC;
    short = `/proc/self/fd/${hold(kernel.call("openat", f.AT_FDCWD, dirname(path), flags, 0))}/${basename(path)}`;
  }
  const bytes = encoder.encode(short);
  const address = new Uint8Array(2 + bytes.length + 1);
  address[0] = f.AF_UNIX;
  address.set(bytes, 2);
  const socket = hold(kernel.call("socket", f.AF_UNIX, f.SOCK_STREAM | f.SOCK_CLOEXEC, 0));
  const control = [20, f.SOL_SOCKET + f.SCM_RIGHTS * 2 ** 32, master];
  const message = [0, 0, [name, name.length], 1, control, control.length * 8, 0];
  const why = `send the terminal to ${JSON.stringify(path)}`;
  kernel.run([
    { syscall: "connect", args: [socket, address, address.length], why },
    { syscall: "sendmsg", args: [socket, message, f.MSG_NOSIGNAL], why },
  ]);
}
