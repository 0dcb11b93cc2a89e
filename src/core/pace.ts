/** The pace at which a sender's time does not run out. */
const leastBytesPerMs = 1024 / 1000;

/** How long a sender may keep its reader waiting: some time over all of a body, and for 1 KiB of it one second more. */
export class Pace {
  /** Bytes that came so far; the reader counts them. */
  bytes = 0;
  readonly #timeoutMs: number;
  #waitedMs = 0;

  /** @param timeoutMs 0 is no limit. */
  constructor(timeoutMs: number) {
    this.#timeoutMs = timeoutMs;
  }

  /** Waits for the next part. @param onLate called where it has not come in time; `next` is to be settled by it. */
  async wait<T>(next: Promise<T>, onLate: () => void): Promise<T> {
    if (this.#timeoutMs === 0) return await next;
    const begin = performance.now();
    const timer = setTimeout(onLate, this.#timeoutMs + this.bytes / leastBytesPerMs - this.#waitedMs);
    try {
      return await next;
    } finally {
      clearTimeout(timer);
      this.#waitedMs += performance.now() - begin;
    }
  }
}
