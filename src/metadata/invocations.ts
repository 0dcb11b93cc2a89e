import { and, asc, count, desc, eq, getTableColumns, inArray } from "drizzle-orm";
import type { Invocation, InvocationStore } from "../core/invocation.ts";
import type { Database } from "./database.ts";
import { invocations } from "./schema.ts";
import { WriteBehind } from "./write_behind.ts";

type Row = typeof invocations.$inferSelect;

/** How many records one statement writes or removes: to remove them holds the event loop for 2 to 3 ms. */
const slice = 50;

/** Records of invocations on this machine, written behind the requests that they tell of. */
export class LibsqlInvocationStore implements InvocationStore, AsyncDisposable {
  readonly #database: Database;
  readonly #waiting: WriteBehind<Invocation>;

  constructor(database: Database) {
    this.#database = database;
    this.#waiting = new WriteBehind({ keyOf: (record) => record.id, write: (records) => this.#write(records), slice });
  }

  put(invocation: Invocation): void {
    this.#waiting.put(invocation);
  }

  async get(namespace: string, id: string): Promise<Invocation | undefined> {
    const waiting = this.#waiting.get(id);
    if (waiting !== undefined) return waiting.namespace === namespace ? waiting : undefined;
    const [row] = await this.#database.run((queries) =>
      queries.select().from(invocations).where(and(eq(invocations.id, id), eq(invocations.namespace, namespace)))
    );
    return row && toInvocation(row);
  }

  /** @param options.limit default 100. */
  async list(
    namespace: string,
    options: { readonly function?: string; readonly limit?: number } = {},
  ): Promise<readonly Invocation[]> {
    const { function: name, limit = 100 } = options;
    // Taken before the query, so that what is written meanwhile is in one of the two, or in both.
    const waiting = this.#waiting.values().filter((record) =>
      record.namespace === namespace && (name === undefined || record.function === name)
    );
    const rows = await this.#database.run((queries) =>
      queries.select().from(invocations)
        .where(and(
          eq(invocations.namespace, namespace),
          name === undefined ? undefined : eq(invocations.function, name),
        ))
        .orderBy(desc(invocations.id))
        .limit(limit)
    );
    const byId = new Map(rows.map((row) => [row.id, toInvocation(row)]));
    for (const record of waiting) byId.set(record.id, record);
    return [...byId.values()].sort((a, b) => a.id < b.id ? 1 : -1).slice(0, limit);
  }

  flush(): Promise<void> {
    return this.#waiting.flush();
  }

  async prune(keep: number): Promise<number> {
    await this.flush();
    const [found] = await this.#database.run((queries) => queries.select({ rows: count() }).from(invocations));
    const excess = Math.max(0, (found?.rows ?? 0) - keep);
    for (let removed = 0; removed < excess; removed += slice) {
      await this.#database.run((queries) =>
        queries.delete(invocations).where(inArray(
          invocations.id,
          queries.select({ id: invocations.id }).from(invocations)
            .orderBy(asc(invocations.id)).limit(Math.min(slice, excess - removed)),
        ))
      );
      await turn();
    }
    return excess;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#waiting[Symbol.asyncDispose]();
  }

  /** All of them as one value, which the database takes apart: the builder takes longer than all the rest of a request. */
  async #write(records: readonly Invocation[]): Promise<void> {
    await this.#database.apply([{ sql: insert, args: [JSON.stringify(records.map(toRow))] }]);
  }
}

const columns = Object.entries(getTableColumns(invocations));

const insert = `INSERT INTO invocations (${columns.map(([, { name }]) => name).join(", ")})
  SELECT ${columns.map((_, i) => `value->>${i}`).join(", ")} FROM json_each(?) WHERE true
  ON CONFLICT (id) DO UPDATE SET ${columns.map(([, { name }]) => `${name} = excluded.${name}`).join(", ")}`;

/** The values of a record, in the order of the columns. */
function toRow(record: Invocation): readonly unknown[] {
  return columns.map(([property, column]) => {
    const value = record[property as keyof Invocation];
    if (typeof value === "string") return value.toWellFormed();
    return value === undefined ? null : column.mapToDriverValue(value);
  });
}

function toInvocation(row: Row): Invocation {
  return {
    ...row,
    durationMs: row.durationMs ?? undefined,
    exitCode: row.exitCode ?? undefined,
    error: row.error ?? undefined,
    stderr: row.stderr ?? undefined,
    cpuMicros: row.cpuMicros ?? undefined,
    memoryPeakBytes: row.memoryPeakBytes ?? undefined,
    traceId: row.traceId ?? undefined,
  };
}

/** Lets the event loop run once. */
function turn(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 0));
}
