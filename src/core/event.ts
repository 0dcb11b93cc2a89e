/** Something that happened, as containerd names it: `/tasks/exit`, `/images/create`, … */
export interface Event {
  /** Grows with each event, over restarts of the daemon too. */
  readonly id: EventId;
  readonly topic: string;
  readonly namespace: string;
  readonly at: Date;
  readonly data: EventData;
}

/** What an event tells; some names have the same meaning everywhere, so that they can be filtered by. */
export interface EventData {
  readonly containerId?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly [fact: string]: unknown;
}

/**
 * Where an event stands: how often the root folder has been opened, and the number of the event since then. Written
 * `<opening>-<number>`.
 */
export interface EventId {
  readonly opening: number;
  readonly number: number;
}

/** Some events that have happened, the oldest first. */
export interface PastEvents {
  readonly events: readonly Event[];
  /** Where to ask next. */
  readonly last: EventId;
  /** Whether some that followed the id are not kept any more, or never were of this daemon. */
  readonly gap: boolean;
}

/** In-process publish and subscribe. A listener that throws is reported and does not disturb the others. */
export interface Events {
  /** Tells every listener at once, before it returns. @param at default now. */
  publish(topic: string, namespace: string, data: EventData, at?: Date): void;
  /** Listens to topics that begin with a prefix; empty for all. Returns the way to stop. */
  subscribe(prefix: string, listener: (event: Event) => void): () => void;
  /** The last event's id; number 0 before the first. */
  readonly last: EventId;
  /** What has happened after an event, as far as it is kept. @param limit the most of them, default all. */
  since(id: EventId, limit?: number): PastEvents;
}

export function formatEventId({ opening, number }: EventId): string {
  return `${opening}-${number}`;
}

/** @returns undefined for what is no id. */
export function parseEventId(text: string): EventId | undefined {
  const [, opening, number] = /^(\d{1,15})-(\d{1,15})$/.exec(text) ?? [];
  return opening === undefined || number === undefined
    ? undefined
    : { opening: Number(opening), number: Number(number) };
}
