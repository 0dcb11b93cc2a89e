import type { Stdio } from "../../src/core/task.ts";
import type { Kernel } from "../../src/linux/kernel.ts";
import { Pipes, streamNames } from "../../src/linux/stdio_pipes.ts";

/** The daemon's side of a process's standard streams. */
export interface Streams {
  readonly stdin: WritableStream<Uint8Array> | undefined;
  readonly stdout: ReadableStream<Uint8Array<ArrayBuffer>> | undefined;
  readonly stderr: ReadableStream<Uint8Array<ArrayBuffer>> | undefined;
  /** Its process has ended: nothing more is likely to come. */
  end(): void;
  /** Closes whatever nobody is using. */
  close(): void;
}

/** Makes the pipes that are asked for. @returns them, and what the process gets: one descriptor each, or /dev/null. */
export function openPipes(kernel: Kernel, stdio: Stdio = {}) {
  const asked = streamNames.map((name) => stdio[name] ?? true);
  const [stdin = true, stdout = true, stderr = true] = asked;
  const pipes = new Pipes(kernel, { stdin: stdin === true, stdout: stdout === true, stderr: stderr === true });
  const end = (name: (typeof streamNames)[number]) => {
    const own = stdio[name];
    return typeof own === "number" ? own : pipes.ends[name];
  };
  return { pipes, ends: [end("stdin"), end("stdout"), end("stderr")] as const };
}
