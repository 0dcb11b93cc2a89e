/** Something that happened, as containerd names it: `/tasks/exit`, `/images/create`, … */
export interface Event {
  readonly topic: string;
  readonly namespace: string;
  readonly at: Date;
  readonly data: Readonly<Record<string, unknown>>;
}

/** In-process publish and subscribe. A listener that throws is reported and does not disturb the others. */
export interface Events {
  /** Tells every listener at once, before it returns. */
  publish(topic: string, namespace: string, data: Readonly<Record<string, unknown>>): void;
  /** Listens to topics that begin with a prefix; empty for all. Returns the way to stop. */
  subscribe(prefix: string, listener: (event: Event) => void): () => void;
}
