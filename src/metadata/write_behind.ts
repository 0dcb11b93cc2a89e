import { codeOf, messageOf } from "../core/errors.ts";

/** Milliseconds that a record waits for others to share its transaction. */
const delayMs = 200;
/** As many waiting records are written without a delay. */
const eager = 500;
/** Milliseconds before a database that is not available is tried again. */
const retryMs = 1000;

export interface WriteBehindOptions<T> {
  readonly keyOf: (record: T) => string;
  /** Writes records in one transaction. */
  readonly write: (records: readonly T[]) => Promise<void>;
  /** The most records that are written at once. Between two slices, the event loop runs. */
  readonly slice: number;
  /** The most records that wait; past it the oldest are given up. Default 20,000. */
  readonly bound?: number;
  /** Told what was given up, and why. Default: a line on stderr. */
  readonly onLost?: (count: number, reason: string) => void;
}

/**
 * Records that are written later, in batches. A later record of the same key takes the place of an earlier one, and what
 * waits can be read.
 */
export class WriteBehind<T> implements AsyncDisposable {
  readonly #options: WriteBehindOptions<T>;
  readonly #bound: number;
  readonly #waiting = new Map<string, T>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #writing: Promise<void> | undefined;
  #closed = false;

  constructor(options: WriteBehindOptions<T>) {
    this.#options = options;
    this.#bound = options.bound ?? 20_000;
  }

  put(record: T): void {
    const key = this.#options.keyOf(record);
    this.#waiting.delete(key);
    this.#waiting.set(key, record);
    if (this.#waiting.size > this.#bound) {
      const [oldest] = this.#waiting.keys();
      this.#waiting.delete(oldest!);
      this.#lost(1, `more than ${this.#bound} wait for the database`);
    }
    if (this.#closed || this.#writing !== undefined) return;
    if (this.#waiting.size === eager) this.#schedule(0);
    else if (this.#timer === undefined) this.#schedule(delayMs);
  }

  get(key: string): T | undefined {
    return this.#waiting.get(key);
  }

  values(): readonly T[] {
    return [...this.#waiting.values()];
  }

  /** Writes everything that waits. @throws what the database threw; the records wait on then. */
  async flush(): Promise<void> {
    while (this.#writing !== undefined || this.#waiting.size > 0) await (this.#writing ?? this.#begin());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    try {
      await this.flush();
    } finally {
      clearTimeout(this.#timer);
      if (this.#waiting.size > 0) this.#lost(this.#waiting.size, "the database was closed");
    }
  }

  #schedule(ms: number): void {
    clearTimeout(this.#timer);
    // A failure has scheduled the next try, and `flush` tells of it whoever asks.
    this.#timer = setTimeout(() => this.#begin().catch(() => {}), ms);
  }

  #begin(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#writing = this.#drain().catch((error) => {
      if (!this.#closed) this.#schedule(retryMs);
      throw error;
    }).finally(() => this.#writing = undefined);
    return this.#writing;
  }

  async #drain(): Promise<void> {
    let size = this.#options.slice;
    while (this.#waiting.size > 0) {
      const part = this.#waiting.entries().take(size).toArray();
      try {
        await this.#options.write(part.map(([, record]) => record));
      } catch (error) {
        // One record that cannot be stored must not keep the others back: it is found by halving, and given up.
        if (codeOf(error) !== "internal") throw error;
        if (size > 1) {
          size = Math.max(1, Math.min(size, part.length) >> 1);
          continue;
        }
        this.#lost(1, messageOf(error));
      }
      for (const [key, record] of part) if (this.#waiting.get(key) === record) this.#waiting.delete(key);
      size = Math.min(this.#options.slice, size * 2);
      await new Promise((resolve) => setTimeout(resolve, 0));
    }
  }

  #lost(count: number, reason: string): void {
    if (this.#options.onLost !== undefined) this.#options.onLost(count, reason);
    else console.error(`gave up ${count} records of invocations: ${reason}`);
  }
}
