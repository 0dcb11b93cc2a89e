import { type Collected, collectGarbage, type GarbageCollection } from "./gc.ts";

const everyMs = 3600_000;

export interface CollectorOptions extends Omit<GarbageCollection, "graceMs" | "signal"> {
  readonly onCollected: (collected: Collected) => void;
  readonly onError: (error: unknown) => void;
}

/** Collects garbage behind deletions and once an hour, one collection at a time. */
export class Collector implements AsyncDisposable {
  readonly #options: CollectorOptions;
  readonly #timer: ReturnType<typeof setInterval>;
  readonly #stop = new AbortController();
  #running: Promise<void> | undefined;
  #again = false;
  #saidConflict = false;

  constructor(options: CollectorOptions) {
    this.#options = options;
    this.#timer = setInterval(() => this.request(), everyMs);
  }

  /** Asks for a collection; one that runs now is followed by another. */
  request(): void {
    if (this.#stop.signal.aborted || this.#saidConflict) return;
    // It stays as long as the database is open.
    this.#saidConflict = this.#options.metadata.conflict !== undefined;
    this.#again = true;
    this.#running ??= this.#collect();
  }

  async #collect(): Promise<void> {
    while (this.#again) {
      this.#again = false;
      try {
        // No time of grace: whoever brings something in leases it until it is named.
        this.#options.onCollected(await collectGarbage({ ...this.#options, graceMs: 0, signal: this.#stop.signal }));
      } catch (error) {
        if (!this.#stop.signal.aborted) this.#options.onError(error);
      }
    }
    this.#running = undefined;
  }

  /** Finishes what was asked for. */
  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    await this.#running;
    this.#stop.abort();
  }
}
