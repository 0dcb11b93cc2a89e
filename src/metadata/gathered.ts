import { setImmediate } from "node:timers";

/** The most that is written at once, and in one statement: it has a limited number of values. */
export const mostAtOnce = 500;

interface Gathering<T> {
  readonly items: T[];
  readonly written: Promise<void>;
}

/**
 * Writes what comes in one turn of the event loop together: a commit takes as long for many rows as for one, and while it
 * lasts others come.
 */
export class Gathered<T> {
  readonly #write: (items: readonly T[]) => Promise<void>;
  #gathering: Gathering<T> | undefined;

  constructor(write: (items: readonly T[]) => Promise<void>) {
    this.#write = write;
  }

  /** Resolves when they are written. @throws what writing throws: then none is. */
  add(items: readonly T[]): Promise<void> {
    if (this.#gathering === undefined || this.#gathering.items.length + items.length > mostAtOnce) this.#begin();
    const gathering = this.#gathering!;
    gathering.items.push(...items);
    return gathering.written;
  }

  #begin(): void {
    const items: T[] = [];
    const written = new Promise<void>((resolve) => setImmediate(resolve)).then(() => {
      if (this.#gathering?.items === items) this.#gathering = undefined;
      return this.#write(items);
    });
    this.#gathering = { items, written };
  }
}

/** @returns the items in parts that a statement takes. */
export function inStatements<T>(items: readonly T[]): readonly (readonly T[])[] {
  return Array.from({ length: Math.ceil(items.length / mostAtOnce) }, (_, index) => {
    return items.slice(index * mostAtOnce, (index + 1) * mostAtOnce);
  });
}
