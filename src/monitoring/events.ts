import type { Event, Events } from "../core/event.ts";

/** Publish and subscribe in this process. */
export class EventBus implements Events {
  readonly #listeners = new Set<{ readonly prefix: string; readonly listener: (event: Event) => void }>();
  readonly #onError: (error: unknown, what: string) => void;

  /** @param onError told of a listener that throws. */
  constructor(onError: (error: unknown, what: string) => void) {
    this.#onError = onError;
  }

  publish(topic: string, namespace: string, data: Readonly<Record<string, unknown>>): void {
    if (this.#listeners.size === 0) return;
    const event: Event = { topic, namespace, at: new Date(), data };
    for (const { prefix, listener } of this.#listeners) {
      if (!topic.startsWith(prefix)) continue;
      try {
        listener(event);
      } catch (error) {
        this.#onError(error, `a listener of ${topic} failed`);
      }
    }
  }

  subscribe(prefix: string, listener: (event: Event) => void): () => void {
    const entry = { prefix, listener };
    this.#listeners.add(entry);
    return () => this.#listeners.delete(entry);
  }
}
