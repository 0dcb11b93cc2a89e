/** A queue that is no part of Mayfly: all in memory, and a journal of it in one file, a line for each change. */
import { closeSync, existsSync, fsyncSync, openSync, readFileSync, truncateSync, writeSync } from "node:fs";
import { join } from "node:path";
import * as v from "valibot";
import type { Plugin } from "../../src/core/plugin.ts";
import type { Delivery, Pulled, Queue, QueueLine, QueueMessage } from "../../src/core/queue.ts";

interface Entry {
  readonly message: QueueMessage;
  /** When it may be given out; of one that is held, when it is given out again. */
  dueAt: number;
  /** Undefined while it waits. */
  receipt: string | undefined;
}

type Change =
  | { readonly added: readonly (QueueLine & { readonly id: string; readonly data: string })[] }
  | { readonly done: readonly string[] }
  | { readonly later: string; readonly dueAt: number };

class JournalQueue implements Queue, Disposable {
  readonly maxBytes = 1024 * 1024;
  readonly holdMs: number;
  readonly #file: number;
  /** In the order in which they were added. */
  readonly #entries = new Map<string, Entry>();
  readonly #told = new Set<(line: QueueLine) => void>();
  #receipts = 0;

  constructor(path: string, holdMs: number) {
    this.holdMs = holdMs;
    if (existsSync(path)) {
      const bytes = readFileSync(path);
      // What a crash has broken off was not promised to anybody.
      const end = bytes.lastIndexOf("\n") + 1;
      truncateSync(path, end);
      for (const line of bytes.subarray(0, end).toString().split("\n")) if (line !== "") this.#apply(JSON.parse(line));
    }
    this.#file = openSync(path, "a", 0o600);
  }

  publish(messages: readonly QueueMessage[]): Promise<void> {
    const fresh = messages.filter(({ id }) => !this.#entries.has(id));
    this.#write({ added: fresh.map(({ data, ...rest }) => ({ ...rest, data: Buffer.from(data).toString("base64") })) });
    fsyncSync(this.#file);
    for (const { namespace, name } of fresh) for (const told of this.#told) told({ namespace, name });
    return Promise.resolve();
  }

  lines(): ReturnType<Queue["lines"]> {
    const counts = new Map<string, QueueLine & { count: number }>();
    for (const { message: { namespace, name } } of this.#waiting()) {
      const line = counts.get(`${namespace}/${name}`) ?? { namespace, name, count: 0 };
      line.count++;
      counts.set(`${namespace}/${name}`, line);
    }
    return Promise.resolve([...counts.values()]);
  }

  pull(line: QueueLine, limit: number): Promise<Pulled> {
    const now = Date.now();
    const own = this.#waiting().filter(({ message }) =>
      message.namespace === line.namespace && message.name === line.name
    );
    const due = own.filter(({ dueAt }) => dueAt <= now).slice(0, limit);
    const deliveries: Delivery[] = due.map((entry) => {
      entry.receipt = String(++this.#receipts);
      entry.dueAt = now + this.holdMs;
      return { ...entry.message, receipt: entry.receipt };
    });
    const next = deliveries.length > 0 || own.length === 0
      ? undefined
      : new Date(Math.min(...own.map(({ dueAt }) => dueAt)));
    return Promise.resolve({ deliveries, next });
  }

  working(receipt: string): Promise<void> {
    const entry = this.#held(receipt);
    if (entry !== undefined) entry.dueAt = Date.now() + this.holdMs;
    return Promise.resolve();
  }

  ack(receipt: string): Promise<void> {
    const entry = this.#held(receipt);
    if (entry !== undefined) this.#write({ done: [entry.message.id] });
    return Promise.resolve();
  }

  nak(receipt: string, delayMs: number): Promise<void> {
    const entry = this.#held(receipt);
    if (entry !== undefined) this.#write({ later: entry.message.id, dueAt: Date.now() + delayMs });
    return Promise.resolve();
  }

  purge(namespace: string): Promise<void> {
    const gone = this.#waiting().filter(({ message }) => message.namespace === namespace);
    this.#write({ done: gone.map(({ message }) => message.id) });
    return Promise.resolve();
  }

  subscribe(told: (line: QueueLine) => void): () => void {
    this.#told.add(told);
    return () => this.#told.delete(told);
  }

  [Symbol.dispose](): void {
    closeSync(this.#file);
  }

  #waiting(): readonly Entry[] {
    const now = Date.now();
    return [...this.#entries.values()].filter(({ receipt, dueAt }) => receipt === undefined || dueAt <= now);
  }

  #held(receipt: string): Entry | undefined {
    const entry = this.#entries.values().find((each) => each.receipt === receipt);
    return entry !== undefined && entry.dueAt > Date.now() ? entry : undefined;
  }

  #write(change: Change): void {
    writeSync(this.#file, `${JSON.stringify(change)}\n`);
    this.#apply(change);
  }

  #apply(change: Change): void {
    if ("added" in change) {
      for (const { data, ...rest } of change.added) {
        const message = { ...rest, data: new Uint8Array(Buffer.from(data, "base64")) };
        this.#entries.set(rest.id, { message, dueAt: 0, receipt: undefined });
      }
    } else if ("done" in change) { for (const id of change.done) this.#entries.delete(id); }
    else {
      const entry = this.#entries.get(change.later);
      if (entry !== undefined) Object.assign(entry, { dueAt: change.dueAt, receipt: undefined });
    }
  }
}

const ConfigSchema = v.strictObject({ holdMs: v.optional(v.number(), 5000) });

export const journal: Plugin<Queue & Disposable, typeof ConfigSchema> = {
  kind: "queue",
  id: "journal",
  contract: 1,
  config: ConfigSchema,
  create: ({ root, config }) => new JournalQueue(join(root, "queue.journal"), config.holdMs),
};
