import { and, desc, eq, inArray, isNull, lt, ne, or, sql } from "drizzle-orm";
import type { AcceptedCall, Call, CallAnswer, CallOutcome, CallStatus, CallStore } from "../core/call.ts";
import type { Database, Statement } from "./database.ts";
import { calls } from "./schema.ts";
import { WriteBehind } from "./write_behind.ts";

/** What a listing reads: neither body. */
const columns = {
  id: calls.id,
  namespace: calls.namespace,
  function: calls.function,
  status: calls.status,
  attempts: calls.attempts,
  createdAt: calls.createdAt,
  dueAt: calls.dueAt,
  finishedAt: calls.finishedAt,
  error: calls.error,
  invocation: calls.invocation,
  callbackUrl: calls.callbackUrl,
  callbackStatus: calls.callbackStatus,
  callbackAttempts: calls.callbackAttempts,
  callbackError: calls.callbackError,
};
type Row = { readonly [Name in keyof typeof columns]: (typeof calls.$inferSelect)[Name] };

/** How many records one statement writes: that holds the event loop for 2 to 3 ms. */
const slice = 50;

/**
 * Records of calls in this machine's database, those of accepted ones written behind their acceptance. What is lost with the
 * process or the power is made anew by the queue's messages.
 */
export class LibsqlCallStore implements CallStore, AsyncDisposable {
  readonly #durable: Database;
  readonly #relaxed: Database;
  readonly #waiting: WriteBehind<AcceptedCall>;

  constructor({ durable, relaxed }: { readonly durable: Database; readonly relaxed: Database }) {
    this.#durable = durable;
    this.#relaxed = relaxed;
    this.#waiting = new WriteBehind({
      keyOf: ({ id }) => id,
      slice,
      write: (accepted) => relaxed.apply([insert(accepted)]),
      onTrouble: (trouble) => console.error(`cannot write records of calls: ${trouble}`),
    });
  }

  add(accepted: readonly AcceptedCall[]): void {
    // A body is in the message, and need not be held here.
    for (const call of accepted) this.#waiting.put({ ...call, body: undefined });
  }

  async get(id: string, namespace?: string): Promise<Call | undefined> {
    if (this.#waiting.get(id) !== undefined) await this.#waiting.flush();
    const [row] = await this.#relaxed.run((queries) =>
      queries.select(columns).from(calls)
        .where(and(eq(calls.id, id), known, namespace === undefined ? undefined : eq(calls.namespace, namespace)))
    );
    return row && toCall(row);
  }

  async list(
    namespace: string,
    { function: name, status, limit }: {
      readonly function?: string | undefined;
      readonly status?: CallStatus | undefined;
      readonly limit: number;
    },
  ): Promise<readonly Call[]> {
    await this.#waiting.flush();
    const rows = await this.#relaxed.run((queries) =>
      queries.select(columns).from(calls)
        .where(and(
          eq(calls.namespace, namespace),
          known,
          name === undefined ? undefined : eq(calls.function, name),
          status === undefined ? undefined : eq(calls.status, status),
        ))
        .orderBy(desc(calls.id)).limit(limit)
    );
    return rows.map(toCall);
  }

  async begin(call: AcceptedCall, now: Date): Promise<Call | undefined> {
    const changes = { status: "running", dueAt: now } as const;
    const { createdAt } = call;
    const [row] = await this.#relaxed.run((queries) =>
      queries.insert(calls).values({ ...toRow(call), ...changes, attempts: 1 }).onConflictDoUpdate({
        target: calls.id,
        set: {
          ...changes,
          createdAt,
          attempts: sql`CASE WHEN ${calls.createdAt} < ${createdAt.getTime()} THEN 1 ELSE ${calls.attempts} + 1 END`,
        },
        setWhere: or(
          and(inArray(calls.status, ["queued", "running"]), eq(calls.createdAt, createdAt)),
          // Replayed, and not recorded yet.
          and(eq(calls.status, "failed"), lt(calls.createdAt, createdAt)),
        ),
      }).returning(columns)
    );
    return row && toCall(row);
  }

  async finish({ id, body }: AcceptedCall, outcome: CallOutcome): Promise<void> {
    const { status, invocation = null } = outcome;
    const now = new Date();
    const changes = status === "succeeded"
      ? {
        finishedAt: now,
        callbackDueAt: now,
        error: null,
        body: null,
        contentType: outcome.answer.contentType,
        answer: outcome.answer.body,
      }
      : status === "failed"
      ? { finishedAt: now, callbackDueAt: now, error: outcome.error, body: body ?? null }
      : {
        dueAt: outcome.dueAt,
        error: outcome.error,
        ...(outcome.counts ? {} : { attempts: sql`${calls.attempts} - 1` }),
      };
    await this.#relaxed.run((queries) =>
      queries.update(calls).set({ status, invocation, ...changes }).where(eq(calls.id, id))
    );
  }

  async answer(id: string): Promise<CallAnswer | undefined> {
    const [row] = await this.#relaxed.run((queries) =>
      queries.select({ contentType: calls.contentType, answer: calls.answer }).from(calls).where(eq(calls.id, id))
    );
    if (row?.answer == null) return undefined;
    return { contentType: row.contentType ?? "application/octet-stream", body: row.answer };
  }

  async failed(namespace: string, id: string): Promise<AcceptedCall | undefined> {
    const [row] = await this.#relaxed.run((queries) =>
      queries.select().from(calls)
        .where(and(eq(calls.id, id), eq(calls.namespace, namespace), eq(calls.status, "failed")))
    );
    if (row === undefined) return undefined;
    const { function: name, createdAt, request, body, callbackUrl } = row;
    return {
      id,
      namespace,
      function: name,
      createdAt,
      request,
      body: body ?? undefined,
      callback: callbackUrl ?? undefined,
    };
  }

  async replayed({ id, createdAt }: AcceptedCall): Promise<void> {
    await this.#relaxed.run((queries) =>
      queries.update(calls).set({
        status: "queued",
        attempts: 0,
        createdAt,
        dueAt: createdAt,
        finishedAt: null,
        callbackStatus: sql`CASE WHEN ${calls.callbackUrl} IS NULL THEN NULL ELSE 'pending' END`,
        callbackAttempts: 0,
        callbackDueAt: null,
        callbackError: null,
      }).where(and(eq(calls.id, id), eq(calls.status, "failed"), lt(calls.createdAt, createdAt)))
    );
  }

  async delete(namespace: string, id: string): Promise<boolean> {
    await this.#waiting.flush();
    const own = and(eq(calls.id, id), eq(calls.namespace, namespace));
    const [marked, removed] = await this.#durable.run((queries) =>
      queries.batch([
        queries.update(calls).set({ status: "deleted", error: null, callbackStatus: null })
          .where(and(own, eq(calls.status, "queued"))).returning({ id: calls.id }),
        queries.delete(calls).where(and(own, inArray(calls.status, ["succeeded", "failed"]))).returning({
          id: calls.id,
        }),
      ])
    );
    return marked.length + removed.length > 0;
  }

  async forget(id: string): Promise<void> {
    await this.#relaxed.run((queries) =>
      queries.delete(calls).where(and(eq(calls.id, id), eq(calls.status, "deleted")))
    );
  }

  async recover(): Promise<number> {
    const rows = await this.#durable.run((queries) =>
      queries.update(calls).set({ status: "queued" }).where(eq(calls.status, "running")).returning({ id: calls.id })
    );
    return rows.length;
  }

  async prune(keep: number): Promise<void> {
    // What is written behind its removal would be there again.
    await this.#waiting.flush();
    await this.#relaxed.run((queries) =>
      queries.delete(calls).where(inArray(
        calls.id,
        queries.select({ id: calls.id }).from(calls)
          .where(and(
            inArray(calls.status, ["succeeded", "failed"]),
            or(isNull(calls.callbackStatus), ne(calls.callbackStatus, "pending")),
          )).orderBy(desc(calls.id)).limit(500).offset(keep),
      ))
    );
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#waiting[Symbol.asyncDispose]();
  }
}

const known = ne(calls.status, "deleted");

function toRow({ id, namespace, function: name, createdAt, request, callback }: AcceptedCall) {
  const told = callback === undefined ? {} : { callbackUrl: callback, callbackStatus: "pending" as const };
  return { id, namespace, function: name, attempts: 0, createdAt, request, ...told };
}

function toCall({ callbackUrl, callbackStatus, callbackAttempts, callbackError, status, ...row }: Row): Call {
  if (status === "deleted") throw new Error(`call ${row.id} is deleted`);
  const callback = callbackUrl === null || callbackStatus === null
    ? undefined
    : { url: callbackUrl, status: callbackStatus, attempts: callbackAttempts, error: callbackError ?? undefined };
  return {
    ...row,
    status,
    callback,
    finishedAt: row.finishedAt ?? undefined,
    error: row.error ?? undefined,
    invocation: row.invocation ?? undefined,
  };
}

/**
 * Written out: the builder takes as long for it as the database. One that runs by now has its record.
 */
function insert(accepted: readonly AcceptedCall[]): Statement {
  const columns =
    "id, namespace, function, status, attempts, created_at, due_at, request, callback_url, callback_status";
  const row = "(?, ?, ?, 'queued', 0, ?, ?, ?, ?, ?)";
  return {
    sql: `INSERT INTO calls (${columns}) VALUES ${accepted.map(() => row).join(", ")} ON CONFLICT (id) DO NOTHING`,
    args: accepted.flatMap(({ id, namespace, function: name, createdAt, request, callback = null }) => {
      const at = createdAt.getTime();
      const status = callback === null ? null : "pending";
      return [id, namespace, name, at, at, JSON.stringify(request), callback, status];
    }),
  };
}
