import { O_CLOEXEC } from "./flags.ts";
import type { Kernel } from "./kernel.ts";
import type { Program } from "./program.ts";

/** Both ends of a pipe, as descriptors that the holder closes. */
export interface Pipe {
  readonly read: number;
  readonly write: number;
}

const program: Program = [{ syscall: "pipe2", args: [{ out: "ends", size: 8 }, O_CLOEXEC], why: "make a pipe" }];

/** Makes a pipe whose ends are closed on execve. @throws resource_exhausted when there are too many descriptors. */
export function pipe(kernel: Kernel): Pipe {
  const results = kernel.run(program);
  return { read: results.int32("ends"), write: results.int32("ends", 4) };
}
