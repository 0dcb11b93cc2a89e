/**
 * A lock that many may share or one may have alone. Who wants it alone waits until nobody shares it, and does not keep
 * others from sharing it meanwhile: an hour's pull must not stand between a short one and its start. Who has it alone
 * again and again lets those share it in between who have come to wait.
 */
export class SharedLock {
  #shares = 0;
  /** How many wait for a share. */
  #waiting = 0;
  #alone = false;
  #changed = Promise.withResolvers<void>();

  /** Resolves with a share; disposing gives it back. */
  async shared(): Promise<Disposable> {
    this.#waiting++;
    while (this.#alone) await this.#changed.promise;
    this.#waiting--;
    this.#shares++;
    return this.#release(() => this.#shares--);
  }

  /** Resolves when nobody else has the lock; disposing gives it back. */
  async exclusive(): Promise<Disposable> {
    while (this.#alone || this.#shares > 0 || this.#waiting > 0) await this.#changed.promise;
    this.#alone = true;
    return this.#release(() => this.#alone = false);
  }

  #release(change: () => void): Disposable {
    let held = true;
    return {
      [Symbol.dispose]: () => {
        if (!held) return;
        held = false;
        change();
        this.#changed.resolve();
        this.#changed = Promise.withResolvers();
      },
    };
  }
}
