import { setImmediate } from "node:timers";

/** How long system calls in a row may hold the event loop. */
const sliceMs = 4;

/**
 * Cuts a long run of synchronous calls into slices, so that the rest of the process goes on between them.
 *
 * @example
 * ```ts
 * const slice = new Slice(signal);
 * for (const file of files) {
 *   copy(file);
 *   if (slice.over) await slice.next();
 * }
 * ```
 */
export class Slice {
  readonly #signal: AbortSignal | undefined;
  #began = performance.now();

  constructor(signal?: AbortSignal) {
    this.#signal = signal;
  }

  /** Whether the slice is used up. */
  get over(): boolean {
    return performance.now() - this.#began >= sliceMs;
  }

  /** Lets the event loop turn. @throws the signal's reason when it has been aborted. */
  async next(): Promise<void> {
    await new Promise<void>((resolve) => setImmediate(resolve));
    this.#signal?.throwIfAborted();
    this.#began = performance.now();
  }
}
