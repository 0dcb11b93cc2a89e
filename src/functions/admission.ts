import { Failure } from "../core/errors.ts";

/**
 * Decides whether an invocation may begin: as many at once as its function allows, and as the daemon allows over all. One
 * more is refused at once: a queue would only hide the overload from whoever balances it.
 */
export class Admission {
  readonly #limit: number;
  readonly #running = new Map<string, number>();
  #total = 0;
  #closed = false;

  /** @param limit how many may run at once over all functions. */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Admits nothing more. */
  close(): void {
    this.#closed = true;
  }

  /** @throws unavailable when closed. */
  requireOpen(): void {
    if (!this.#closed) return;
    throw new Failure("unavailable", "cannot invoke a function: the daemon is shutting down", {
      details: { retryAfterSeconds: 5 },
    });
  }

  /** How many run under a key. */
  running(key: string): number {
    return this.#running.get(key) ?? 0;
  }

  /**
   * Takes a place; `leave` gives it back.
   * @param key the function; `limit` how many of it may run at once.
   * @throws unavailable when closed; resource_exhausted when all places are taken.
   */
  enter(key: string, limit: number): void {
    this.requireOpen();
    const count = this.running(key);
    if (count >= limit) throw full(`${limit} invocations of it run already, as many as its concurrency allows`, limit);
    if (this.#total >= this.#limit) {
      throw full(`${this.#limit} invocations run already, as many as maxConcurrency allows`, this.#limit);
    }
    this.#running.set(key, count + 1);
    this.#total++;
  }

  leave(key: string): void {
    const count = this.running(key) - 1;
    if (count > 0) this.#running.set(key, count);
    else this.#running.delete(key);
    this.#total--;
  }
}

function full(what: string, limit: number): Failure {
  return new Failure("resource_exhausted", `cannot invoke the function now: ${what}`, {
    details: { limit, retryAfterSeconds: 1 },
  });
}
