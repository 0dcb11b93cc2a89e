import type { Process, ProcessExit, TerminalSize } from "../../src/core/task.ts";
import type { Children } from "../../src/linux/children.ts";
import { SIGKILL } from "../../src/linux/flags.ts";
import type { Kernel, Spawned } from "../../src/linux/kernel.ts";
import { checkSignal, sendSignal } from "../../src/linux/signal.ts";
import type { Streams } from "../../src/linux/streams.ts";

/** What a process is made of. It owns all of it. */
export interface ProcessParts {
  readonly id: string;
  readonly kernel: Kernel;
  readonly children: Children;
  readonly process: Spawned;
  readonly streams: Streams;
  /** Called once, when it has ended. */
  readonly onExit: (exit: ProcessExit) => void;
  /** Called when it is deleted. */
  readonly onDelete: () => void;
}

/** One more process of a container. */
export class NativeProcess implements Process {
  readonly id: string;
  readonly pid: number;
  readonly #parts: ProcessParts;
  readonly #exit: Promise<ProcessExit>;
  #ended = false;
  #deleted: Promise<ProcessExit> | undefined;

  constructor(parts: ProcessParts) {
    this.id = parts.id;
    this.pid = parts.process.pid;
    this.#parts = parts;
    this.#exit = this.#watch();
    // Nobody has to wait for it.
    this.#exit.catch(() => {});
  }

  get stdin(): WritableStream<Uint8Array> | undefined {
    return this.#parts.streams.stdin;
  }

  get stdout(): ReadableStream<Uint8Array<ArrayBuffer>> | undefined {
    return this.#parts.streams.stdout;
  }

  get stderr(): ReadableStream<Uint8Array<ArrayBuffer>> | undefined {
    return this.#parts.streams.stderr;
  }

  wait(): Promise<ProcessExit> {
    return this.#exit;
  }

  async kill(signal = SIGKILL): Promise<void> {
    const whom = `process ${JSON.stringify(this.id)}`;
    checkSignal(signal, whom);
    if (!this.#ended) sendSignal(this.#parts.kernel, this.#parts.process.pidfd, signal, whom);
  }

  async resize(size: TerminalSize): Promise<void> {
    this.#parts.streams.resize(size, `process ${JSON.stringify(this.id)}`);
  }

  delete(): Promise<ProcessExit> {
    return this.#deleted ??= this.#delete();
  }

  async #delete(): Promise<ProcessExit> {
    const { streams, onDelete } = this.#parts;
    try {
      await this.kill();
      return await this.#exit;
    } finally {
      await streams.close();
      onDelete();
    }
  }

  async #watch(): Promise<ProcessExit> {
    const { children, kernel, process: { pidfd }, streams, onExit } = this.#parts;
    try {
      const { code, signal } = await children.wait(pidfd);
      const exit = { code, signal, exitedAt: new Date() };
      onExit(exit);
      return exit;
    } finally {
      this.#ended = true;
      kernel.attempt("close", pidfd);
      streams.end();
    }
  }
}
