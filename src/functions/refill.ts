import type { Prepared } from "./prepared.ts";

/** How long nothing has to run before one is made: the next request may be on its way already. */
const quietMs = 2;

export interface RefillParts {
  /** Whether somebody waits for an answer. */
  readonly busy: () => boolean;
  /** How many containers may wait over all pools, beside those that always do. */
  readonly limit: number;
  readonly onError: (error: unknown, what: string) => void;
}

/** Makes what pools lack, one container after another, while no request runs: making one holds up the event loop. */
export class Refill {
  readonly #parts: RefillParts;
  readonly #pools = new Set<Prepared>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #working = false;

  constructor(parts: RefillParts) {
    this.#parts = parts;
  }

  /** Looks after a pool. @returns what ends that. */
  add(pool: Prepared): () => void {
    this.#pools.add(pool);
    return () => this.#pools.delete(pool);
  }

  /** To be called when a request has been answered, or a pool was added. */
  schedule(): void {
    if (this.#working || this.#pools.size === 0) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#work(), quietMs);
  }

  async #work(): Promise<void> {
    if (this.#working) return;
    this.#working = true;
    try {
      for (let pool = this.#next(); pool !== undefined && !this.#parts.busy(); pool = this.#next()) {
        await pool.add();
        // Requests that have come meanwhile go first.
        await new Promise((resolve) => setTimeout(resolve, 0));
      }
    } catch (error) {
      // The next request makes its own, and is told why where it cannot either.
      this.#parts.onError(error, "cannot prepare a container");
    } finally {
      this.#working = false;
    }
  }

  /** The one that lacks most, of those that always have some first. */
  #next(): Prepared | undefined {
    let required: Prepared | undefined;
    let most: Prepared | undefined;
    let waiting = 0;
    for (const pool of this.#pools) {
      waiting += pool.count;
      if (pool.required > (required?.required ?? 0)) required = pool;
      if (pool.missing > (most?.missing ?? 0)) most = pool;
    }
    return required ?? (waiting < this.#parts.limit ? most : undefined);
  }
}
