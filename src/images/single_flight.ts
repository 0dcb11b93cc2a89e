/**
 * Joins equal work that is asked for at the same time: the first caller starts it, the others wait for the same result.
 * It is aborted when nobody waits for it any more.
 */
export class SingleFlight<T> {
  readonly #flights = new Map<
    string,
    { waiting: number; readonly abort: AbortController; readonly result: Promise<T> }
  >();

  /** @param work gets a signal of its own: a caller that goes away does not end it for the others. */
  async run(key: string, signal: AbortSignal | undefined, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    signal?.throwIfAborted();
    const flight = this.#flights.get(key) ?? this.#start(key, work);
    flight.waiting++;
    let leave: (() => void) | undefined;
    try {
      if (signal === undefined) return await flight.result;
      const left = new Promise<never>((_, reject) => {
        leave = () => reject(signal.reason);
        signal.addEventListener("abort", leave);
      });
      return await Promise.race([flight.result, left]);
    } finally {
      if (leave !== undefined) signal?.removeEventListener("abort", leave);
      if (--flight.waiting === 0) {
        // New callers must not join what is being aborted.
        if (this.#flights.get(key) === flight) this.#flights.delete(key);
        flight.abort.abort(signal?.reason);
        await flight.result.catch(() => {});
      }
    }
  }

  #start(key: string, work: (signal: AbortSignal) => Promise<T>) {
    const abort = new AbortController();
    const result = work(abort.signal);
    const flight = { waiting: 0, abort, result };
    this.#flights.set(key, flight);
    const end = () => {
      if (this.#flights.get(key) === flight) this.#flights.delete(key);
    };
    result.then(end, end);
    return flight;
  }
}
