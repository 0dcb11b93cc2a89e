import { rmSync } from "node:fs";
import { Failure } from "../../src/core/errors.ts";
import * as f from "../../src/linux/flags.ts";
import type { Kernel } from "../../src/linux/kernel.ts";
import { syscallFailure } from "../../src/linux/syscall_failure.ts";

/** `sockaddr_un` holds a path of so many bytes. */
const longestPath = 107;

/**
 * A socket that a runtime sends a terminal's master to: it connects to it and sends one message with the descriptor.
 * @see https://github.com/opencontainers/runc/blob/v1.1.5/docs/terminals.md#detached-new-terminal
 */
export class ConsoleSocket implements Disposable {
  readonly path: string;
  readonly #kernel: Kernel;
  readonly #socket: number;

  /** @throws invalid_argument for a path that is too long for a socket. */
  constructor(kernel: Kernel, path: string) {
    const bytes = new TextEncoder().encode(path);
    if (bytes.length > longestPath) {
      throw new Failure(
        "invalid_argument",
        `cannot make a terminal's socket at ${
          JSON.stringify(path)
        }: want at most ${longestPath} bytes, use a shorter --run`,
      );
    }
    this.path = path;
    this.#kernel = kernel;
    this.#socket = kernel.call("socket", f.AF_UNIX, f.SOCK_STREAM | f.SOCK_CLOEXEC | f.SOCK_NONBLOCK, 0);
    try {
      const address = new Uint8Array(2 + bytes.length + 1);
      new DataView(address.buffer).setUint16(0, f.AF_UNIX, true);
      address.set(bytes, 2);
      kernel.call("bind", this.#socket, address, address.length);
      kernel.call("listen", this.#socket, 1);
    } catch (error) {
      kernel.attempt("close", this.#socket);
      throw error;
    }
  }

  /**
   * Takes the master that was sent, when the command that sends it has ended. The caller closes it.
   * @throws failed_precondition when none was sent.
   */
  receive(): number {
    const kernel = this.#kernel;
    const connection = kernel.attempt("accept4", this.#socket, 0, 0, f.SOCK_CLOEXEC | f.SOCK_NONBLOCK);
    if (connection < 0) throw syscallFailure("cannot take the terminal: the runtime sent none", "accept4", connection);
    try {
      const size = 24;
      const results = kernel.run([{
        syscall: "recvmsg",
        args: [
          connection,
          // struct msghdr: no name, one buffer, control data, flags.
          [0, 0, [{ out: "data", size: 4096 }, 4096], 1, { out: "control", size }, size, 0],
          f.MSG_CMSG_CLOEXEC | f.MSG_DONTWAIT,
        ],
        why: "take the terminal from the runtime",
      }]);
      if (results.int32("control", 12) !== f.SCM_RIGHTS) {
        throw new Failure("failed_precondition", "cannot take the terminal: the runtime sent something else");
      }
      return results.int32("control", 16);
    } finally {
      kernel.attempt("close", connection);
    }
  }

  [Symbol.dispose](): void {
    this.#kernel.attempt("close", this.#socket);
    rmSync(this.path, { force: true });
  }
}
