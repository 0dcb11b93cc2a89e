/** What may come at once, and what in each second behind it. */
const burstBytes = 8 * 1024 * 1024;
const bytesPerMs = 16 * 1024 * 1024 / 1000;

/**
 * How fast a container's log is read: of one that floods it little is kept, and reading it takes time from all others. Who
 * writes more waits for its pipe.
 */
export class LogPace {
  readonly #now: () => number;
  #bytes = 0;
  #since: number;

  /** @param now in milliseconds. */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
    this.#since = now();
  }

  /** Counts what was read. @returns how long to wait before more is, in milliseconds; 0 for not at all. */
  read(bytes: number): number {
    const now = this.#now();
    this.#bytes = Math.max(this.#bytes - (now - this.#since) * bytesPerMs, 0) + bytes;
    this.#since = now;
    return Math.max(this.#bytes - burstBytes, 0) / bytesPerMs;
  }
}

/** Hands on a log, part by part, at that pace. @throws what reading throws. */
export async function readLog(log: ReadableStream<Uint8Array>, take: (part: Uint8Array) => void): Promise<void> {
  const reader = log.getReader();
  const pace = new LogPace();
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    take(part.value);
    const waitMs = pace.read(part.value.length);
    if (waitMs > 0) await new Promise((resolve) => setTimeout(resolve, waitMs));
  }
}
