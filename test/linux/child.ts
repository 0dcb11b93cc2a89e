import type { Kernel, Spawned, SpawnOptions } from "../../src/linux/kernel.ts";
import { pipe } from "../../src/linux/pipe.ts";
import type { Operation, Program } from "../../src/linux/program.ts";
import { P_PIDFD, WEXITED } from "../../src/linux/flags.ts";

/** A static busybox, which needs nothing else in its root. */
export const busybox = "/bin/busybox";

/** The step that ends in a busybox applet. */
export function execute(...words: string[]): Operation {
  return {
    syscall: "execve",
    args: [busybox, ["busybox", ...words, 0], ["PATH=/bin", 0]],
    why: `execute ${JSON.stringify(words[0])}`,
  };
}

/** Blocks until a child has ended, reaps it and closes its pidfd. @returns its exit status, or minus its signal. */
export function reap(kernel: Kernel, { pidfd }: Spawned): number {
  const info = kernel.buffer(128);
  const view = new DataView(info.bytes.buffer, info.bytes.byteOffset);
  kernel.call("waitid", P_PIDFD, pidfd, info.address, WEXITED, 0);
  kernel.call("close", pidfd);
  const [exited, status] = [view.getInt32(8, true) === 1, view.getInt32(24, true)];
  return exited ? status : -status;
}

/** Runs a program in a child to its end. @returns what it wrote to its standard output, up to 64 KiB. */
export function outputOf(kernel: Kernel, program: Program, options?: SpawnOptions): string {
  const { read, write } = pipe(kernel);
  const stdout: Operation = { syscall: "dup3", args: [write, 1, 0], why: "take the pipe as standard output" };
  const child = kernel.spawn([stdout, ...program], options);
  kernel.call("close", write);
  const chunk = kernel.buffer(65536);
  let text = "";
  for (let length = 1; length > 0;) {
    length = kernel.call("read", read, chunk.address, 65536);
    text += new TextDecoder().decode(chunk.bytes.slice(0, length));
  }
  kernel.call("close", read);
  reap(kernel, child);
  return text;
}
