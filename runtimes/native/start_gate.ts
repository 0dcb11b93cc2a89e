import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import * as v from "valibot";
import { Failure } from "../../src/core/errors.ts";
import { parse } from "../../src/core/parse.ts";
import { errno } from "../../src/linux/errno.ts";
import * as f from "../../src/linux/flags.ts";
import type { Kernel } from "../../src/linux/kernel.ts";
import type { Operation } from "../../src/linux/program.ts";
import { failedStep } from "../../src/linux/stage.ts";
import { mostDescriptors } from "../../src/linux/stages.ts";
import { init } from "../../src/linux/stub/layout.ts";
import type { Step } from "../../src/linux/step_failure.ts";
import { syscallFailure } from "../../src/linux/syscall_failure.ts";
import type { SyscallName } from "../../src/linux/syscalls.ts";

/** Fifos in the container's folder: the one lets the process go on, on the other it tells why it could not. */
const [startName, answerName, launchName] = ["start", "answer", "launch.json"];

/** Where the process has them: behind what it may keep, and before the container's init. */
const [startDescriptor, answerDescriptor] = [mostDescriptors - 3, mostDescriptors - 2];

/** How many descriptors behind the standard streams can be kept. */
export const mostPreserved = 80;

const LaunchSchema = v.strictObject({
  pid: v.number(),
  starts: v.array(v.number()),
  steps: v.array(
    v.strictObject({ syscall: v.custom<SyscallName>((name) => typeof name === "string"), why: v.string() }),
  ),
});

/** The ends of a gate, for the process that is to wait behind it. */
export interface Gate extends Disposable {
  readonly descriptors: ReadonlyMap<number, number>;
}

/** Makes a gate in a folder. */
export function makeGate(kernel: Kernel, folder: string): Gate {
  const opened: number[] = [];
  const open = (name: string, flags: number) => {
    const fd = kernel.call("openat", f.AT_FDCWD, join(folder, name), flags | f.O_CLOEXEC, 0);
    opened.push(fd);
    return fd;
  };
  const close = () => {
    for (const fd of opened.splice(0)) kernel.attempt("close", fd);
  };
  try {
    for (const name of [startName, answerName]) {
      kernel.call("mknodat", f.AT_FDCWD, join(folder, name), f.S_IFIFO | 0o600, 0);
    }
    // Opened for both, a fifo does not wait for its other end. Who waits for a start is the only one that reads.
    const start = open(startName, f.O_RDWR);
    open(answerName, f.O_RDWR);
    const answer = open(answerName, f.O_WRONLY);
    return { descriptors: new Map([[startDescriptor, start], [answerDescriptor, answer]]), [Symbol.dispose]: close };
  } catch (error) {
    close();
    throw error;
  }
}

/**
 * Waits for the gate to open. From here on the fifo takes the place of the socket to the process that made this one, which
 * may be gone by then: what fails behind the gate is told there, and the stub ends where it would read from it.
 */
export function* waitAtGate(): Generator<Operation> {
  const why = "wait for the start";
  yield { syscall: "dup3", args: [answerDescriptor, init.control, f.O_CLOEXEC], why };
  yield { syscall: "close", args: [answerDescriptor], why };
  yield { syscall: "read", args: [startDescriptor, { out: "started", size: 8 }, 1], why };
  yield { syscall: "close", args: [startDescriptor], why };
}

/** Keeps what it takes to start the container: who waits, and what each of its steps is for. */
export function recordLaunch(folder: string, launch: {
  readonly pid: number;
  readonly steps: readonly Step[];
  readonly starts: readonly number[];
}): void {
  const { pid, starts } = launch;
  const steps = launch.steps.map(({ syscall, why }) => ({ syscall, why }));
  writeFileSync(join(folder, launchName), JSON.stringify({ pid, starts, steps }), { mode: 0o600 });
}

/** What `recordLaunch` kept. @throws not_found when nothing was created in this folder. */
export function recordedLaunch(folder: string): v.InferOutput<typeof LaunchSchema> {
  const text = readFileSync(join(folder, launchName), "utf8");
  return parse(LaunchSchema, JSON.parse(text), "cannot read how the container was launched");
}

/**
 * Opens the gate, and resolves when the process behind it has executed its command, or has ended.
 * @throws failed_precondition when nobody waits there; the failing step's error, with what `named` makes of it.
 */
export async function openGate(
  kernel: Kernel,
  folder: string,
  named: (steps: readonly Step[], error: unknown) => unknown,
): Promise<void> {
  const path = (name: string) => join(folder, name);
  const answer = kernel.call("openat", f.AT_FDCWD, path(answerName), f.O_RDONLY | f.O_NONBLOCK | f.O_CLOEXEC, 0);
  try {
    const start = kernel.attempt("openat", f.AT_FDCWD, path(startName), f.O_WRONLY | f.O_NONBLOCK | f.O_CLOEXEC, 0);
    if (start === -errno.ENXIO) {
      throw new Failure(
        "failed_precondition",
        "cannot start the container: its process is gone, or was started before",
      );
    }
    if (start < 0) throw syscallFailure("cannot start the container", "openat", start);
    kernel.call("write", start, ".", 1);
    kernel.attempt("close", start);
    const bytes = await readAnswer(kernel, answer);
    if (bytes.length === 0) return;
    const { starts, steps } = recordedLaunch(folder);
    throw named(steps, failedStep(steps, starts, bytes));
  } finally {
    kernel.attempt("close", answer);
  }
}

/** Reads what the process tells until it closes the fifo, which is when something is executed. */
async function readAnswer(kernel: Kernel, fd: number): Promise<Uint8Array<ArrayBuffer>> {
  const parts: Uint8Array<ArrayBuffer>[] = [];
  const chunk = { out: "chunk", size: 16 * 1024 };
  for (let waitMs = 0;; waitMs = Math.min(waitMs + 1, 20)) {
    const results = kernel.run([
      { syscall: "read", args: [fd, chunk, chunk.size], store: "length", why: "wait for the start", onError: "ignore" },
    ]);
    const length = results.get("length");
    if (length > 0) parts.push(results.bytes("chunk").slice(0, length));
    else if (length === 0) return new Uint8Array(await new Blob(parts).arrayBuffer());
    else if (length !== -errno.EAGAIN) throw syscallFailure("cannot wait for the start", "read", length);
    await new Promise((resolve) => setTimeout(resolve, waitMs));
  }
}
