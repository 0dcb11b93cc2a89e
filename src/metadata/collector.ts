import { KeyedLock } from "../core/keyed_lock.ts";
import { type Collected, collectGarbage, type GarbageCollection } from "./gc.ts";

const everyMs = 3600_000;

export interface CollectorOptions extends Omit<GarbageCollection, "graceMs" | "signal"> {
  /** Gives up what a policy does not keep. @param collect frees what that held. */
  readonly retain?: (collect: () => Promise<unknown>) => Promise<void>;
  readonly onCollected: (collected: Collected) => void;
  readonly onError: (error: unknown) => void;
}

/** Collects garbage behind deletions and once an hour, one collection at a time. */
export class Collector implements AsyncDisposable {
  readonly #options: CollectorOptions;
  readonly #timer: ReturnType<typeof setInterval>;
  readonly #stop = new AbortController();
  readonly #turns = new KeyedLock();
  #running: Promise<void> | undefined;
  #again = false;
  #saidConflict = false;

  constructor(options: CollectorOptions) {
    this.#options = options;
    this.#timer = setInterval(() => this.request(), everyMs);
  }

  /**
   * Collects, behind what runs already.
   * @param options.dryRun tells what would go, and removes nothing.
   * @throws as `collectGarbage`.
   */
  collect({ dryRun = false }: { readonly dryRun?: boolean } = {}): Promise<Collected> {
    return this.#turns.hold("", async () => {
      // No time of grace: whoever brings something in leases it until it is named.
      const collected = await collectGarbage({ ...this.#options, graceMs: 0, dryRun, signal: this.#stop.signal });
      if (!dryRun) this.#options.onCollected(collected);
      return collected;
    });
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
        await this.#options.retain?.(() => this.collect());
        await this.collect();
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
    await this.#turns.hold("", () => Promise.resolve());
  }
}
