import { Failure } from "../core/errors.ts";
import type { Stdio, TerminalSize } from "../core/task.ts";
import type { Kernel } from "./kernel.ts";
import type { Descriptors, Stages } from "./stages.ts";
import { Pipes, type StdioEnds, streamNames } from "./stdio_pipes.ts";
import { TerminalRelay, windowSize } from "./terminal_relay.ts";

/**
 * The standard streams of one process: pipes, descriptors of the caller's, or both over a terminal. Streams that nobody
 * has asked for are closed with this object; the others belong to who reads or writes them.
 */
export class Streams {
  readonly #terminal: boolean;
  readonly #pipes: Pipes;
  #relay: TerminalRelay | undefined;

  /** @throws resource_exhausted when there are too many descriptors. */
  constructor(kernel: Kernel, { stdin = true, stdout = true, stderr = true }: Stdio, terminal: boolean) {
    this.#terminal = terminal;
    // A terminal has one way out.
    this.#pipes = new Pipes(kernel, { stdin, stdout, stderr: terminal ? false : stderr });
  }

  /** The process's ends; with a terminal it makes its own. */
  get ends(): StdioEnds {
    return this.#terminal ? { stdin: undefined, stdout: undefined, stderr: undefined } : this.#pipes.ends;
  }

  /** The same, by their numbers in the process. */
  get descriptors(): Descriptors {
    const { ends } = this;
    return new Map(streamNames.map((name, index) => [index, ends[name] ?? null]));
  }

  get stdin(): WritableStream<Uint8Array> | undefined {
    return this.#pipes.stdin;
  }

  get stdout(): ReadableStream<Uint8Array<ArrayBuffer>> | undefined {
    return this.#pipes.stdout;
  }

  get stderr(): ReadableStream<Uint8Array<ArrayBuffer>> | undefined {
    return this.#pipes.stderr;
  }

  /** Carries the terminal's two ways from here on. @param master becomes this object's. */
  attach(stages: Stages, master: number): void {
    const { stdin, stdout } = this.#pipes.ends;
    this.#relay = new TerminalRelay(stages, master, { input: stdin, output: stdout });
    this.#pipes.release();
  }

  /** @param whom for the message: `container "x"`. @throws failed_precondition without a terminal. */
  resize(size: TerminalSize, whom: string): void {
    if (this.#relay === undefined) {
      throw new Failure("failed_precondition", `cannot resize the terminal of ${whom}: it has none`);
    }
    this.#relay.resize(windowSize(size));
  }

  /** Lets go of the process's ends: it has its own. */
  release(): void {
    this.#pipes.release();
  }

  /** The process has ended: nothing more is likely to come. */
  end(): void {
    // What a terminal has said comes from the relay, some time after.
    if (!this.#terminal) this.#pipes.end();
  }

  /** Closes what nobody uses. */
  async close(): Promise<void> {
    this.#pipes.close();
    await this.#relay?.close();
  }
}
