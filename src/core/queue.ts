/**
 * A queue keeps messages, durably, until somebody has done what they ask for. It knows nothing of what they say: whoever
 * works through it keeps its own records.
 *
 * - A *line* is the messages of one function. Lines do not hold up each other: who pulls from them in turn is fair.
 * - A message *waits*, until `pull` gives it out; then it is *held*, until `ack` removes it or `nak` puts it back. Each
 *   giving out has a *receipt* of its own; with an old one, nothing happens.
 * - Delivery is at least once. What was held when a process ended waits again: at once where the queue has one user, else
 *   when it was held for `holdMs` without `working`. An `ack` may be lost with the power. So the same message may come
 *   again, also while an earlier delivery of it is still worked on; its id tells.
 * - How often to try, and what becomes of a message that cannot succeed, is for the caller to say: it acks what it gives
 *   up. A queue never gives up one.
 *
 * Nothing here asks for a message by its id, takes an attempt back or changes a message, so that a log with consumers can
 * be a queue. In NATS JetStream: a stream with work-queue retention, a subject for each line, and one durable pull consumer
 * per subject without a limit of deliveries; `publish` with `Nats-Msg-Id` (several: an atomic batch), `pull` is a fetch
 * with `no_wait`, the receipt is the reply subject, `working` is `+WPI`, `nak` is `-NAK` with a delay, `lines` are the
 * stream's counts by subject, `purge` a purge by subject, `subscribe` a plain subscription of the stream's subjects.
 *
 * @see https://docs.nats.io/nats-concepts/jetstream/consumers
 */
export interface Queue {
  /** The most bytes that a message's data may have. */
  readonly maxBytes: number;
  /** How long one is held without `working`, in milliseconds; undefined: until the process ends. */
  readonly holdMs: number | undefined;
  /**
   * Adds messages to their lines, all or none: when it returns, they outlive a power cut. One with an id that is in the
   * queue already is passed over.
   * @throws unavailable, resource_exhausted: then none was added that was not there.
   */
  publish(messages: readonly QueueMessage[]): Promise<void>;
  /** Lines with messages that wait, and how many do. It may be expensive, and may be a little old. */
  lines(): Promise<readonly (QueueLine & { readonly count: number })[]>;
  /** Gives out messages of a line that may be delivered now, those that have waited longest first. It does not wait. */
  pull(line: QueueLine, limit: number): Promise<Pulled>;
  /** Its holder is at it still: the time to `holdMs` begins anew. */
  working(receipt: string): Promise<void>;
  /** It is done: it will not come again. */
  ack(receipt: string): Promise<void>;
  /** Puts it back, to be delivered after a delay. */
  nak(receipt: string, delayMs: number): Promise<void>;
  /** Removes all messages of a namespace that wait. */
  purge(namespace: string): Promise<void>;
  /**
   * Has somebody told of lines to which messages are added, once for each, by whomever. What is missed (a connection that
   * broke) is found by `lines`.
   * @returns ends it.
   */
  subscribe(told: (line: QueueLine) => void): () => void;
}

/** Names without dots, blanks, `*` and `>`. */
export interface QueueLine {
  readonly namespace: string;
  readonly name: string;
}

export interface QueueMessage extends QueueLine {
  /** Of at most 128 letters, digits, dots and dashes. */
  readonly id: string;
  readonly data: Uint8Array<ArrayBuffer>;
}

/** One that is held from now on. */
export interface Delivery extends QueueMessage {
  readonly receipt: string;
}

export interface Pulled {
  readonly deliveries: readonly Delivery[];
  /**
   * Where none is delivered, when to ask again: in JetStream, which does not tell, a guess. Undefined where none waits.
   */
  readonly next: Date | undefined;
}
