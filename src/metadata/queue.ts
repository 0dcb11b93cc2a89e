import { and, count, eq, inArray, min, sql } from "drizzle-orm";
import { join } from "node:path";
import type { Pulled, Queue, QueueLine, QueueMessage } from "../core/queue.ts";
import { Database, type Statement } from "./database.ts";
import { Gathered, inStatements } from "./gathered.ts";
import { queueMessages as table } from "./schema.ts";

/** Opens the queue of a root folder, whose metadata is open; what an earlier process held waits again. */
export async function openQueue(root: string): Promise<LibsqlQueue> {
  await using opened = new AsyncDisposableStack();
  const path = join(root, "mayfly.db");
  const durable = opened.use(await Database.file(path, "FULL"));
  const relaxed = opened.use(await Database.file(path, "NORMAL"));
  await relaxed.run((queries) => queries.update(table).set({ held: false }).where(eq(table.held, true)));
  return new LibsqlQueue({ durable, relaxed, owned: opened.move() });
}

/** The queue in this machine's database: one process uses it. A message is added durably; how it goes on may be lost with the power. */
export class LibsqlQueue implements Queue, AsyncDisposable {
  readonly maxBytes = 512 * 1024 * 1024;
  readonly holdMs = undefined;
  readonly #relaxed: Database;
  readonly #owned: AsyncDisposableStack;
  readonly #added: Gathered<QueueMessage>;
  readonly #told = new Set<(line: QueueLine) => void>();

  constructor({ durable, relaxed, owned }: {
    readonly durable: Database;
    readonly relaxed: Database;
    readonly owned: AsyncDisposableStack;
  }) {
    this.#relaxed = relaxed;
    this.#owned = owned;
    this.#added = new Gathered((messages) => durable.apply(inStatements(messages).map(insert)));
  }

  async publish(messages: readonly QueueMessage[]): Promise<void> {
    if (messages.length === 0) return;
    await this.#added.add(messages);
    for (const { namespace, name } of messages) for (const told of this.#told) told({ namespace, name });
  }

  lines(): ReturnType<Queue["lines"]> {
    return this.#relaxed.run((queries) =>
      queries.select({ namespace: table.namespace, name: table.name, count: count() }).from(table)
        .where(eq(table.held, false)).groupBy(table.namespace, table.name)
    );
  }

  async pull(line: QueueLine, limit: number): Promise<Pulled> {
    const now = new Date();
    const rows = await this.#relaxed.run((queries) =>
      queries.update(table).set({ held: true, deliveries: sql`${table.deliveries} + 1` })
        .where(inArray(
          table.seq,
          queries.select({ seq: table.seq }).from(table)
            .where(and(waits(line), sql`${table.dueAt} <= ${now.getTime()}`))
            .orderBy(table.dueAt, table.seq).limit(limit),
        ))
        .returning()
    );
    const deliveries = rows
      .sort((a, b) => a.dueAt.getTime() - b.dueAt.getTime() || a.seq - b.seq)
      .map(({ id, namespace, name, data, seq, deliveries }) => (
        { id, namespace, name, data, receipt: `${seq}.${deliveries}` }
      ));
    return { deliveries, next: deliveries.length > 0 ? undefined : await this.#nextDue(line) };
  }

  async #nextDue(line: QueueLine): Promise<Date | undefined> {
    const [row] = await this.#relaxed.run((queries) =>
      queries.select({ dueAt: min(table.dueAt) }).from(table).where(waits(line))
    );
    return row?.dueAt ?? undefined;
  }

  /** Nobody else waits for it. */
  working(): Promise<void> {
    return Promise.resolve();
  }

  async ack(receipt: string): Promise<void> {
    await this.#relaxed.run((queries) => queries.delete(table).where(holds(receipt)));
  }

  async nak(receipt: string, delayMs: number): Promise<void> {
    const dueAt = new Date(Date.now() + delayMs);
    await this.#relaxed.run((queries) => queries.update(table).set({ held: false, dueAt }).where(holds(receipt)));
  }

  async purge(namespace: string): Promise<void> {
    await this.#relaxed.run((queries) =>
      queries.delete(table).where(and(eq(table.namespace, namespace), eq(table.held, false)))
    );
  }

  subscribe(told: (line: QueueLine) => void): () => void {
    this.#told.add(told);
    return () => this.#told.delete(told);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#owned.disposeAsync();
  }
}

function waits({ namespace, name }: QueueLine) {
  return and(eq(table.namespace, namespace), eq(table.name, name), eq(table.held, false));
}

function holds(receipt: string) {
  const [seq, deliveries] = receipt.split(".").map(Number);
  return and(eq(table.seq, seq ?? -1), eq(table.held, true), eq(table.deliveries, deliveries ?? -1));
}

/** Written out: it is what accepting a call waits for, and the builder takes as long for it as the database. */
function insert(messages: readonly QueueMessage[]): Statement {
  const now = Date.now();
  return {
    sql: `INSERT INTO queue_messages (id, namespace, name, held, due_at, deliveries, data)
      VALUES ${messages.map(() => "(?, ?, ?, 0, ?, 0, ?)").join(", ")} ON CONFLICT (id) DO NOTHING`,
    args: messages.flatMap(({ id, namespace, name, data }) => [id, namespace, name, now, data]),
  };
}
