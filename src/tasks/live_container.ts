import type { ContainerRunState } from "../core/container.ts";
import type { Task } from "../core/task.ts";
import { boundedTail } from "./bounded_tail.ts";
import type { ContainerLog } from "./container_log.ts";
import { WaitingInput } from "./waiting_input.ts";

/** The two output streams of a container. */
export type OutputChannel = "stdout" | "stderr";

/** Takes output as it comes; the container waits for it as for its log. It must not throw. */
export type OutputListener = (channel: OutputChannel, chunk: Uint8Array) => Promise<void> | void;

/** A container's task, with its output going to its log and to whoever is attached. */
export class LiveContainer {
  readonly task: Task;
  readonly log: ContainerLog;
  /** Resolves when it has ended, its output is in the log, and how it ended is recorded. */
  readonly ended: Promise<ContainerRunState>;
  readonly #recorded = Promise.withResolvers<ContainerRunState>();
  readonly #listeners = new Set<OutputListener>();
  readonly #captured: Promise<unknown>;
  #input: WaitingInput | undefined;

  constructor(task: Task, log: ContainerLog) {
    this.task = task;
    this.log = log;
    this.ended = this.#recorded.promise;
    // Nobody has to wait for it.
    this.ended.catch(() => {});
    const { stdout, stderr } = task;
    this.#captured = Promise.allSettled([
      stdout && this.#capture("stdout", stdout),
      stderr && this.#capture("stderr", stderr),
    ]);
  }

  /** Where its standard input was kept open. Writes from several sides are put one after another. */
  get input(): WaitingInput | undefined {
    const { stdin } = this.task;
    return this.#input ??= stdin && new WaitingInput(stdin);
  }

  /** Takes the output from here on. @returns the way to stop. */
  listen(listener: OutputListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Resolves when all output has been taken, which is soon after the task has ended. */
  async captured(): Promise<void> {
    await this.#captured;
    await this.log.close();
  }

  /** Tells who waits how it ended. */
  settle(state: ContainerRunState): void {
    this.#recorded.resolve(state);
  }

  async #capture(channel: OutputChannel, stream: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<void> {
    // Another process may hold the other end: of one that has ended, only what it left is waited for.
    for await (const chunk of boundedTail(stream, this.task.wait())) {
      const taken = Array.from(this.#listeners, (listener) => listener(channel, chunk));
      await this.log.append(channel, chunk);
      await Promise.all(taken);
    }
  }
}
