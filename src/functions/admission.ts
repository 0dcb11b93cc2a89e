import { Failure } from "../core/errors.ts";

export interface AdmissionOptions {
  /** How many may run at once over all functions. */
  readonly limit: number;
  /** How many may run at once in a namespace, by its name; `*` is each of the others. Default: as many as over all. */
  readonly namespaces?: Readonly<Record<string, number>>;
}

/** A function, as places are counted. */
export interface Place {
  readonly namespace: string;
  /** The same for all invocations of one function, and of no other. */
  readonly key: string;
}

/**
 * Decides whether an invocation may begin: as many at once as its function allows, its namespace, and the daemon over all. One
 * more is refused at once: a queue would only hide the overload from whoever balances it.
 *
 * Of the places over all functions, some may be kept for one: others do not get them, whether it uses them or not.
 */
export class Admission {
  readonly #limit: number;
  readonly #namespaces: ReadonlyMap<string, number>;
  readonly #running = new Map<string, number>();
  readonly #inNamespace = new Map<string, number>();
  readonly #kept = new Map<string, number>();
  #keptSum = 0;
  #total = 0;
  /** How many of the running ones have a place that is kept for nobody. */
  #common = 0;
  #closed = false;

  constructor({ limit, namespaces = {} }: AdmissionOptions) {
    this.#limit = limit;
    this.#namespaces = new Map(Object.entries(namespaces));
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

  /** How many places are kept for a function. */
  kept(key: string): number {
    return this.#kept.get(key) ?? 0;
  }

  /** How many places are kept for functions, together. */
  get keptSum(): number {
    return this.#keptSum;
  }

  /**
   * Keeps so many places for a function; 0 for none.
   * @throws resource_exhausted where there are not so many: one at least is everybody's. Fewer than before can be kept always.
   */
  keep(key: string, count: number): void {
    const [before, running] = [this.kept(key), this.running(key)];
    const others = this.#keptSum - before;
    if (count > before && others + count >= this.#limit) {
      throw new Failure(
        "resource_exhausted",
        `cannot keep ${count} places for a function: ${others} are kept for others, maxConcurrency is ${this.#limit}, ` +
          "and one at least is everybody's",
        { details: { field: "reservedConcurrency" } },
      );
    }
    this.#common += Math.max(running - count, 0) - Math.max(running - before, 0);
    this.#keptSum += count - before;
    if (count > 0) this.#kept.set(key, count);
    else this.#kept.delete(key);
  }

  /**
   * Takes a place; `leave` gives it back.
   * @param limit how many of the function may run at once.
   * @throws unavailable when closed; resource_exhausted when all places are taken.
   */
  enter({ namespace, key }: Place, limit: number): void {
    this.requireOpen();
    const count = this.running(key);
    if (count >= limit) throw full(`${limit} invocations of it run already, as many as its concurrency allows`, limit);
    const inNamespace = this.#inNamespace.get(namespace) ?? 0;
    const most = this.#namespaces.get(namespace) ?? this.#namespaces.get("*") ?? Infinity;
    if (inNamespace >= most) {
      throw full(`${most} invocations of its namespace run already, as many as namespaceConcurrency allows`, most);
    }
    const common = count >= this.kept(key);
    const kept = this.#keptSum;
    // Places may be kept while others still have them.
    if (this.#total >= this.#limit || (common && this.#common >= this.#limit - kept)) {
      const where = kept === 0 ? "" : `, without the ${kept} that it keeps for some functions`;
      throw full(
        `${this.#limit - kept} invocations run already, as many as maxConcurrency allows${where}`,
        this.#limit,
      );
    }
    this.#running.set(key, count + 1);
    this.#inNamespace.set(namespace, inNamespace + 1);
    this.#total++;
    if (common) this.#common++;
  }

  leave({ namespace, key }: Place): void {
    const count = this.running(key) - 1;
    if (count >= this.kept(key)) this.#common--;
    lower(this.#running, key);
    lower(this.#inNamespace, namespace);
    this.#total--;
  }
}

function lower(counts: Map<string, number>, key: string): void {
  const count = (counts.get(key) ?? 0) - 1;
  if (count > 0) counts.set(key, count);
  else counts.delete(key);
}

function full(what: string, limit: number): Failure {
  return new Failure("resource_exhausted", `cannot invoke the function now: ${what}`, {
    details: { limit, retryAfterSeconds: 1 },
  });
}
