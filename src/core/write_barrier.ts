/** Told of a reference that comes to be while a collection runs. */
type Watcher = (resource: string) => void;

/**
 * What stands between those who begin to use a thing and a garbage collection that may be about to remove it. The
 * collection marks once, and then removes one thing after another while others write; so every reference that is recorded
 * is told here, and nobody waits for more than the removal of the very thing that they want.
 *
 * Things are named as leases name them: `content/<digest>`, `snapshot/<snapshotter>/<key>`, `ingest/<ref>`.
 *
 * A collection keeps what it was told of to its end. So whoever takes up something that is there already pins or leases
 * it, then looks whether it is there, and lets go when another record refers to it.
 */
export class WriteBarrier {
  readonly #watchers = new Set<Watcher>();
  readonly #pins = new Set<readonly string[]>();
  readonly #removals = new Map<string, Promise<void>>();

  /**
   * Tells of references. To be called when they are recorded: a collection that begins before that is told, a later one
   * reads the record.
   * @returns when none of these things is on its way out any more: it is there, or it is gone.
   */
  async added(resources: Iterable<string>): Promise<void> {
    const going: Promise<void>[] = [];
    for (const resource of resources) {
      for (const watcher of this.#watchers) watcher(resource);
      const removal = this.#removals.get(resource);
      if (removal !== undefined) going.push(removal);
    }
    await Promise.all(going);
  }

  /** Keeps things without a record, until it is disposed. @returns as `added`. */
  async pin(...resources: string[]): Promise<Disposable> {
    this.#pins.add(resources);
    await this.added(resources);
    return { [Symbol.dispose]: () => void this.#pins.delete(resources) };
  }

  /** Tells what is pinned, and from now on what is added, until it is disposed. To be called before records are read. */
  watch(watcher: Watcher): Disposable {
    for (const resource of [...this.#pins].flat()) watcher(resource);
    this.#watchers.add(watcher);
    return { [Symbol.dispose]: () => void this.#watchers.delete(watcher) };
  }

  /** Removes a thing; who begins to use it waits for the end. To be called in the turn that has seen that nobody does. */
  async remove(resource: string, action: () => Promise<void>): Promise<void> {
    const removal = action();
    const over = removal.then(() => {}, () => {}).finally(() => this.#removals.delete(resource));
    this.#removals.set(resource, over);
    await removal;
  }
}
