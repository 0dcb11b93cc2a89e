import type { Event, EventData, EventId, Events, PastEvents } from "../core/event.ts";

/** How many events are kept, for who comes back. */
export const keptEvents = 8192;

export interface EventBusOptions {
  /** How often the root folder has been opened: what ids begin with. Default 1. */
  readonly opening?: number;
  /** How many events are kept. Default `keptEvents`. */
  readonly kept?: number;
}

/** Publish and subscribe in this process. The newest events are kept. */
export class EventBus implements Events {
  readonly #listeners = new Set<{ readonly prefix: string; readonly listener: (event: Event) => void }>();
  readonly #onError: (error: unknown, what: string) => void;
  readonly #opening: number;
  readonly #kept: number;
  /** Event number n is at n modulo the length. */
  readonly #ring: Event[] = [];
  #count = 0;

  /** @param onError told of a listener that throws. */
  constructor(onError: (error: unknown, what: string) => void, options: EventBusOptions = {}) {
    this.#onError = onError;
    this.#opening = options.opening ?? 1;
    this.#kept = options.kept ?? keptEvents;
  }

  get last(): EventId {
    return { opening: this.#opening, number: this.#count };
  }

  publish(topic: string, namespace: string, data: EventData, at: Date = new Date()): void {
    const number = ++this.#count;
    const event: Event = { id: { opening: this.#opening, number }, topic, namespace, at, data };
    this.#ring[number % this.#kept] = event;
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

  since({ opening, number }: EventId, limit = Infinity): PastEvents {
    const oldest = Math.max(1, this.#count - this.#kept + 1);
    // An id of another opening, or of events that have not happened, says nothing of what its asker has missed.
    const known = opening === this.#opening && number <= this.#count;
    const first = known ? Math.max(number + 1, oldest) : oldest;
    const end = Math.min(this.#count, first + limit - 1);
    const events: Event[] = [];
    for (let next = first; next <= end; next++) events.push(this.#ring[next % this.#kept] as Event);
    return {
      events,
      last: { opening: this.#opening, number: Math.max(end, first - 1) },
      gap: !known || number + 1 < oldest,
    };
  }
}
