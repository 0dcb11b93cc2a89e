import { Failure } from "../core/errors.ts";
import type { TerminalSize } from "../core/task.ts";
import * as f from "./flags.ts";
import type { Kernel } from "./kernel.ts";
import type { Program } from "./program.ts";
import type { Stage } from "./stage.ts";
import type { Stages } from "./stages.ts";

/** How a relay reads and writes. */
const [source, sink] = [0, 1];
const chunkBytes = 16 * 1024;

/** Ctrl-D: the end of input, as a terminal has it. */
const endOfInput = new Uint8Array([4]);

/** Copies until the source ends, with whatever error: that of a terminal is EIO. */
function relay(last: Uint8Array | undefined): Program {
  const end = { syscall: "exit_group", args: [0], why: "end", label: "over" } as const;
  return [
    // Or it would go on reading what is meant for who comes next.
    { syscall: "prctl", args: [f.PR_SET_PDEATHSIG, f.SIGKILL, 0, 0, 0], why: "die when the process that made it dies" },
    {
      syscall: "read",
      args: [source, { out: "chunk", size: chunkBytes }, chunkBytes],
      store: "length",
      why: "read",
      label: "read",
      onError: { goto: "over" },
      onZero: { goto: "last" },
    },
    {
      syscall: "write",
      args: [sink, { out: "chunk", size: chunkBytes }, { ref: "length" }],
      why: "write",
      onError: { goto: "over" },
      onNonZero: { goto: "read" },
    },
    last === undefined
      ? { syscall: "getpid", args: [], why: "go on", label: "last" }
      : { syscall: "write", args: [sink, last, last.length], why: "end the input", label: "last", onError: "ignore" },
    end,
  ];
}

/**
 * Carries what a terminal's master says and hears over two pipes, or a terminal's two ways: no JavaScript runtime reads a master as it reads a pipe,
 * and one that waits for room in a terminal would block. Each way is a process of its own that holds nothing else. Both
 * end by themselves: with the pipe, or with the last process that has the terminal open, when all it wrote has been read.
 */
export class TerminalRelay {
  readonly #kernel: Kernel;
  readonly #master: number;
  readonly #stages: readonly Stage[];
  /** Resolves when all that the terminal has said was handed on, and nobody has it open any more. */
  readonly said: Promise<void>;
  #open = true;

  /**
   * @param master becomes this object's.
   * @param pipes the ends that are away from the reader and writer of the terminal. They stay the caller's.
   * @throws resource_exhausted when no more processes can be made; the master is closed then.
   */
  constructor(
    stages: Stages,
    master: number,
    pipes: { readonly input: number | undefined; readonly output: number | undefined },
  ) {
    this.#kernel = stages.kernel;
    this.#master = master;
    const { input = null, output = null } = pipes;
    const made: Stage[] = [];
    const ends: Promise<void>[] = [];
    try {
      for (const [from, to, last] of [[master, output, undefined], [input, master, endOfInput]] as const) {
        if (from === null || to === null) continue;
        const stage = stages.spawn(new Map([[source, from], [sink, to], [2, null]]));
        made.push(stage);
        const end = stage.leave(relay(last));
        if (from === master) ends.push(end);
      }
    } catch (error) {
      this.#kernel.attempt("close", master);
      for (const stage of made) void stage.abandon();
      throw error;
    }
    this.#stages = made;
    this.said = Promise.all(ends).then(() => {});
  }

  /** @param size `struct winsize`. @throws failed_precondition after `close`: the number may be another file's by then. */
  resize(size: Uint8Array): void {
    if (!this.#open) throw new Failure("failed_precondition", "cannot resize a terminal: it is closed");
    this.#kernel.call("ioctl", this.#master, f.TIOCSWINSZ, size);
  }

  /** Ends both ways, when nobody reads or writes any more. */
  async close(): Promise<void> {
    if (this.#open) this.#kernel.attempt("close", this.#master);
    this.#open = false;
    await Promise.all(this.#stages.map((stage) => stage.abandon()));
  }
}

/** `struct winsize`. @see https://man7.org/linux/man-pages/man2/TIOCSWINSZ.2const.html */
export function windowSize({ width, height }: TerminalSize): Uint8Array {
  return new Uint8Array(Uint16Array.of(height, width, 0, 0).buffer);
}
