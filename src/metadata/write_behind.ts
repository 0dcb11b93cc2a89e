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
  /** Told once when writing begins to fail, and of what was given up. Default: a line on stderr. */
  readonly onTrouble?: (trouble: string) => void;
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
  #failing = false;
  /** Records given up since writing has begun to fail. */
  #overflow = 0;

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
      if (this.#overflow++ === 0) this.#trouble(`more than ${this.#bound} wait, the oldest are given up`);
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
      if (this.#waiting.size > 0) this.#trouble(`${this.#waiting.size} are given up: the database is closed`);
    }
  }

  #schedule(ms: number): void {
    clearTimeout(this.#timer);
    // A failure has been told by `#begin`, which also tries again.
    this.#timer = setTimeout(() => this.#begin().catch(() => {}), ms);
  }

  #begin(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#writing = this.#drain().then(
      () => {
        if (this.#overflow > 0) this.#trouble(`writing works again, ${this.#overflow} were given up meanwhile`);
        this.#failing = false;
        this.#overflow = 0;
      },
      (error) => {
        if (!this.#failing) this.#trouble(`${messageOf(error)}; trying again`);
        this.#failing = true;
        throw error;
      },
    ).finally(() => {
      this.#writing = undefined;
      if (this.#waiting.size > 0 && !this.#closed) this.#schedule(this.#failing ? retryMs : delayMs);
    });
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
        this.#trouble(`one is given up: ${messageOf(error)}`);
      }
      for (const [key, record] of part) if (this.#waiting.get(key) === record) this.#waiting.delete(key);
      size = Math.min(this.#options.slice, size * 2);
      await new Promise((resolve) => setTimeout(resolve, 0));
    }
  }

  #trouble(trouble: string): void {
    if (this.#options.onTrouble !== undefined) this.#options.onTrouble(trouble);
    else console.error(`cannot write records of invocations: ${trouble}`);
  }
}
