import { untilAborted } from "./cancel.ts";

/** Limits how many do something at once, by key; who comes later waits for a turn, the first one first. */
export class Slots {
  readonly #limit: number;
  readonly #taken = new Map<string, { count: number; readonly waiting: (() => void)[] }>();

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Takes a slot. @returns what gives it back; calling it again does nothing. @throws as `interrupted`. */
  async take(key: string, signal: AbortSignal | undefined): Promise<() => void> {
    const slot = this.#taken.get(key) ?? { count: 0, waiting: [] };
    this.#taken.set(key, slot);
    if (slot.count >= this.#limit) {
      const { promise, resolve } = Promise.withResolvers<void>();
      slot.waiting.push(resolve);
      try {
        await untilAborted(promise, signal);
      } catch (error) {
        const at = slot.waiting.indexOf(resolve);
        // It has just been given the turn of another: that goes on.
        if (at < 0) this.#give(key);
        else slot.waiting.splice(at, 1);
        throw error;
      }
    } else slot.count++;
    let held = true;
    return () => {
      if (held) this.#give(key);
      held = false;
    };
  }

  #give(key: string): void {
    const slot = this.#taken.get(key);
    if (slot === undefined) return;
    const next = slot.waiting.shift();
    if (next !== undefined) return next();
    if (--slot.count === 0) this.#taken.delete(key);
  }
}
