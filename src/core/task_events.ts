import type { TaskEvent } from "./runtime.ts";

/** An event as a runtime tells it: the time is that of telling, unless it is known better. */
export type NewTaskEvent = TaskEvent extends infer Event
  ? Event extends TaskEvent ? Omit<Event, "at"> & { readonly at?: Date } : never
  : never;

/** Tells a runtime's listeners what happens, one event after another. For `Runtime.events`. */
export class TaskEvents {
  readonly #listeners = new Set<(event: TaskEvent) => void>();

  subscribe(listener: (event: TaskEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Whether anybody listens. */
  get heard(): boolean {
    return this.#listeners.size > 0;
  }

  publish(event: NewTaskEvent): void {
    if (this.#listeners.size === 0) return;
    const told = { at: new Date(), ...event } as TaskEvent;
    for (const listener of [...this.#listeners]) listener(told);
  }
}
