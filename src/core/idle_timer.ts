/**
 * Calls back when something has had nothing to do for long. Being busy in between costs two assignments: the clock behind it
 * runs on, and looks again.
 */
export class IdleTimer {
  readonly #ms: number;
  readonly #act: () => void;
  #sinceMs: number | undefined;
  #clock: ReturnType<typeof setTimeout> | undefined;

  /** @param ms how long. @param act called once for each `begin`. */
  constructor(ms: number, act: () => void) {
    this.#ms = ms;
    this.#act = act;
  }

  /** Whether it waits to call back. */
  get waiting(): boolean {
    return this.#sinceMs !== undefined;
  }

  /** There is nothing to do from now on. */
  begin(): void {
    this.#sinceMs = performance.now();
    this.#clock ??= setTimeout(() => this.#look(), this.#ms);
  }

  /** There is something to do again. */
  stop(): void {
    this.#sinceMs = undefined;
  }

  /** It is of no use any more. */
  end(): void {
    this.stop();
    clearTimeout(this.#clock);
    this.#clock = undefined;
  }

  #look(): void {
    this.#clock = undefined;
    if (this.#sinceMs === undefined) return;
    const restMs = this.#sinceMs + this.#ms - performance.now();
    if (restMs > 0) {
      this.#clock = setTimeout(() => this.#look(), restMs);
      return;
    }
    this.#sinceMs = undefined;
    this.#act();
  }
}
