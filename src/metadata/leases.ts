import { asc, eq, gt, sql } from "drizzle-orm";
import { Failure } from "../core/errors.ts";
import type { Lease, LeaseStore } from "../core/lease.ts";
import type { WriteBarrier } from "../core/write_barrier.ts";
import type { Database } from "./database.ts";
import { paged } from "./paged.ts";
import { leaseResources, leases } from "./schema.ts";
import { violatedConstraint } from "./sql_failure.ts";

/** A statement has so many values at most, divided by those of a row. */
const mostRows = 10_000;

/** Leases of this machine; their resources go with them. */
export class LibsqlLeaseStore implements LeaseStore {
  readonly #database: Database;
  readonly #barrier: WriteBarrier;

  constructor(database: Database, barrier: WriteBarrier) {
    this.#database = database;
    this.#barrier = barrier;
  }

  async create(namespace: string, expiresAt: Date, labels: Readonly<Record<string, string>> = {}): Promise<Lease> {
    const lease = { id: crypto.randomUUID(), namespace, expiresAt, labels };
    await this.#database.run((queries) => queries.insert(leases).values(lease));
    return { ...lease, resources: [] };
  }

  async add(id: string, resources: readonly string[]): Promise<void> {
    try {
      for (let at = 0; at < resources.length; at += mostRows) {
        const rows = resources.slice(at, at + mostRows).map((resource) => ({ leaseId: id, resource }));
        await this.#database.run((queries) => queries.insert(leaseResources).values(rows).onConflictDoNothing());
      }
    } catch (error) {
      if (violatedConstraint(error) !== "foreign_key") throw error;
      throw new Failure("not_found", `cannot add to lease ${JSON.stringify(id)}: there is none of this id`);
    }
    await this.#barrier.added(resources);
  }

  async delete(id: string): Promise<void> {
    await this.#database.run((queries) => queries.delete(leases).where(eq(leases.id, id)));
  }

  async list(): Promise<readonly Lease[]> {
    const { leaseId, resource } = leaseResources;
    const all = await paged<typeof leases.$inferSelect>((last, limit) =>
      this.#database.run((queries) =>
        queries.select().from(leases).where(last && gt(leases.id, last.id)).orderBy(asc(leases.id)).limit(limit)
      )
    );
    const held = await paged<typeof leaseResources.$inferSelect>((last, limit) =>
      this.#database.run((queries) =>
        queries.select().from(leaseResources)
          .where(last && sql`(${leaseId}, ${resource}) > (${last.leaseId}, ${last.resource})`)
          .orderBy(asc(leaseId), asc(resource)).limit(limit)
      )
    );
    const byLease = Map.groupBy(held, ({ leaseId }) => leaseId);
    return all.map((lease) => ({ ...lease, resources: (byLease.get(lease.id) ?? []).map(({ resource }) => resource) }));
  }
}
