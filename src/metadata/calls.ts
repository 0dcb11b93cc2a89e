import { and, asc, count, desc, eq, inArray, isNull, lte, ne, or, sql } from "drizzle-orm";
import type { Call, CallAnswer, CallOutcome, CallStatus, CallStore, NewCall } from "../core/call.ts";
import type { Database } from "./database.ts";
import { calls } from "./schema.ts";

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

/** The queue in this machine's database. A call is accepted durably; how it goes on may be lost with the power, and is repeated. */
export class LibsqlCallStore implements CallStore {
  readonly #durable: Database;
  readonly #relaxed: Database;

  constructor({ durable, relaxed }: { readonly durable: Database; readonly relaxed: Database }) {
    this.#durable = durable;
    this.#relaxed = relaxed;
  }

  async add(added: readonly NewCall[]): Promise<void> {
    const now = new Date();
    const rows = added.map(({ body, callback, ...call }): typeof calls.$inferInsert => ({
      ...call,
      status: "queued",
      attempts: 0,
      createdAt: now,
      dueAt: now,
      body: body ?? null,
      ...(callback === undefined ? {} : { callbackUrl: callback, callbackStatus: "pending" }),
    }));
    await this.#durable.run((queries) => queries.insert(calls).values(rows));
  }

  async get(id: string, namespace?: string): Promise<Call | undefined> {
    const [row] = await this.#relaxed.run((queries) =>
      queries.select(columns).from(calls)
        .where(and(eq(calls.id, id), namespace === undefined ? undefined : eq(calls.namespace, namespace)))
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
    const rows = await this.#relaxed.run((queries) =>
      queries.select(columns).from(calls)
        .where(and(
          eq(calls.namespace, namespace),
          name === undefined ? undefined : eq(calls.function, name),
          status === undefined ? undefined : eq(calls.status, status),
        ))
        .orderBy(desc(calls.id)).limit(limit)
    );
    return rows.map(toCall);
  }

  async waiting(): ReturnType<CallStore["waiting"]> {
    return await this.#relaxed.run((queries) =>
      queries.select({ namespace: calls.namespace, function: calls.function, count: count() }).from(calls)
        .where(eq(calls.status, "queued")).groupBy(calls.namespace, calls.function)
    );
  }

  async due(namespace: string, name: string, now: Date, limit: number): Promise<readonly Call[]> {
    const rows = await this.#relaxed.run((queries) =>
      queries.select(columns).from(calls)
        .where(and(queuedOf(namespace, name), lte(calls.dueAt, now)))
        .orderBy(asc(calls.dueAt), asc(calls.id)).limit(limit)
    );
    return rows.map(toCall);
  }

  async nextDue(namespace: string, name: string): Promise<Date | undefined> {
    const [row] = await this.#relaxed.run((queries) =>
      queries.select({ dueAt: calls.dueAt }).from(calls)
        .where(queuedOf(namespace, name)).orderBy(asc(calls.dueAt)).limit(1)
    );
    return row?.dueAt;
  }

  async begin(id: string, now: Date): Promise<Pick<NewCall, "request" | "body"> | undefined> {
    const [row] = await this.#relaxed.run((queries) =>
      queries.update(calls).set({ status: "running", attempts: sql`${calls.attempts} + 1`, dueAt: now })
        .where(and(eq(calls.id, id), eq(calls.status, "queued")))
        .returning({ request: calls.request, body: calls.body })
    );
    return row && { request: row.request, body: row.body ?? undefined };
  }

  async finish(id: string, outcome: CallOutcome): Promise<void> {
    const { status, invocation = null } = outcome;
    const now = new Date();
    const changes = status === "succeeded"
      // What was asked is not needed any more.
      ? {
        finishedAt: now,
        callbackDueAt: now,
        error: null,
        body: null,
        contentType: outcome.answer.contentType,
        answer: outcome.answer.body,
      }
      : status === "failed"
      ? { finishedAt: now, callbackDueAt: now, error: outcome.error }
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

  async replay(namespace: string, id: string): Promise<boolean> {
    const now = new Date();
    const rows = await this.#durable.run((queries) =>
      queries.update(calls).set({
        status: "queued",
        attempts: 0,
        createdAt: now,
        dueAt: now,
        finishedAt: null,
        callbackStatus: sql`CASE WHEN ${calls.callbackUrl} IS NULL THEN NULL ELSE 'pending' END`,
        callbackAttempts: 0,
        callbackDueAt: null,
        callbackError: null,
      })
        .where(and(eq(calls.id, id), eq(calls.namespace, namespace), eq(calls.status, "failed")))
        .returning({ id: calls.id })
    );
    return rows.length > 0;
  }

  async delete(namespace: string, id: string): Promise<boolean> {
    const rows = await this.#durable.run((queries) =>
      queries.delete(calls)
        .where(and(eq(calls.id, id), eq(calls.namespace, namespace), ne(calls.status, "running")))
        .returning({ id: calls.id })
    );
    return rows.length > 0;
  }

  async recover(): Promise<number> {
    const rows = await this.#durable.run((queries) =>
      queries.update(calls).set({ status: "queued" }).where(eq(calls.status, "running")).returning({ id: calls.id })
    );
    return rows.length;
  }

  async prune(keep: number): Promise<void> {
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
}

function queuedOf(namespace: string, name: string) {
  return and(eq(calls.status, "queued"), eq(calls.namespace, namespace), eq(calls.function, name));
}

function toCall({ callbackUrl, callbackStatus, callbackAttempts, callbackError, ...row }: Row): Call {
  const callback = callbackUrl === null || callbackStatus === null
    ? undefined
    : { url: callbackUrl, status: callbackStatus, attempts: callbackAttempts, error: callbackError ?? undefined };
  return {
    ...row,
    callback,
    finishedAt: row.finishedAt ?? undefined,
    error: row.error ?? undefined,
    invocation: row.invocation ?? undefined,
  };
}
