import { and, asc, eq, inArray, isNotNull, lte, notInArray, sql } from "drizzle-orm";
import type { CallbackOutcome, CallbackStore, DueCallback } from "../core/callback.ts";
import type { Database } from "./database.ts";
import { calls } from "./schema.ts";

/** Who is to be told how calls have ended. What is lost with the power is told once more. */
export class LibsqlCallbackStore implements CallbackStore {
  readonly #relaxed: Database;

  constructor({ relaxed }: { readonly relaxed: Database }) {
    this.#relaxed = relaxed;
  }

  async due(
    now: Date,
    limit: number,
    without: readonly string[],
  ): Promise<readonly Pick<DueCallback, "id" | "url">[]> {
    const rows = await this.#relaxed.run((queries) =>
      queries.select({ id: calls.id, url: calls.callbackUrl }).from(calls)
        .where(and(pending, lte(calls.callbackDueAt, now), notInArray(calls.id, [...without])))
        .orderBy(asc(calls.callbackDueAt), asc(calls.id)).limit(limit)
    );
    return rows.map(({ id, url }) => ({ id, url: url ?? "" }));
  }

  async next(without: readonly string[]): Promise<Date | undefined> {
    const [row] = await this.#relaxed.run((queries) =>
      queries.select({ dueAt: calls.callbackDueAt }).from(calls)
        .where(and(pending, isNotNull(calls.callbackDueAt), notInArray(calls.id, [...without])))
        .orderBy(asc(calls.callbackDueAt)).limit(1)
    );
    return row?.dueAt ?? undefined;
  }

  async get(id: string): Promise<DueCallback | undefined> {
    const [row] = await this.#relaxed.run((queries) =>
      queries.select().from(calls).where(and(eq(calls.id, id), pending, inArray(calls.status, ["succeeded", "failed"])))
    );
    if (row === undefined || row.callbackUrl === null) return undefined;
    const answer = row.status === "succeeded" && row.answer !== null
      ? { contentType: row.contentType ?? "application/octet-stream", body: row.answer }
      : undefined;
    return {
      id,
      namespace: row.namespace,
      function: row.function,
      url: row.callbackUrl,
      attempts: row.callbackAttempts,
      answer,
      error: row.error ?? undefined,
      createdAt: row.createdAt,
      finishedAt: row.finishedAt ?? row.createdAt,
      traceparent: row.request.headers.find(([name]) => name === "traceparent")?.[1],
    };
  }

  async finish(id: string, outcome: CallbackOutcome): Promise<void> {
    await this.#relaxed.run((queries) =>
      queries.update(calls).set({
        callbackStatus: outcome.status,
        callbackAttempts: sql`${calls.callbackAttempts} + 1`,
        callbackError: outcome.status === "delivered" ? null : outcome.error,
        callbackDueAt: outcome.status === "pending" ? outcome.dueAt : null,
        // It may have been replayed meanwhile: it is told anew then.
      }).where(and(eq(calls.id, id), isNotNull(calls.callbackDueAt)))
    );
  }
}

const pending = eq(calls.callbackStatus, "pending");
