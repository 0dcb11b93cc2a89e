/** Does one thing after another, in the order in which they were asked for. */
export class InTurn {
  #last: Promise<unknown> = Promise.resolve();

  /** Does something when what was asked for before is done, whether that failed or not. */
  hold<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#last.then(work);
    this.#last = done.catch(() => {});
    return done;
  }

  /** Resolves when what was asked for so far is done; never rejects. */
  get done(): Promise<unknown> {
    return this.#last;
  }
}
