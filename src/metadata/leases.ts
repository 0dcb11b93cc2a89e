import { asc, eq } from "drizzle-orm";
import { Failure } from "../core/errors.ts";
import type { Lease, LeaseStore } from "../core/lease.ts";
import type { Database } from "./database.ts";
import { leaseResources, leases } from "./schema.ts";
import { violatedConstraint } from "./sql_failure.ts";

/** A statement has so many values at most, divided by those of a row. */
const mostRows = 10_000;

/** Leases of this machine; their resources go with them. */
export class LibsqlLeaseStore implements LeaseStore {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
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
  }

  async delete(id: string): Promise<void> {
    await this.#database.run((queries) => queries.delete(leases).where(eq(leases.id, id)));
  }

  async list(): Promise<readonly Lease[]> {
    const rows = await this.#database.run((queries) =>
      queries.select().from(leases)
        .leftJoin(leaseResources, eq(leaseResources.leaseId, leases.id))
        .orderBy(asc(leases.id), asc(leaseResources.resource))
    );
    return [...Map.groupBy(rows, (row) => row.leases.id).values()].map((group) => ({
      ...group[0]!.leases,
      resources: group.flatMap(({ lease_resources: held }) => held === null ? [] : [held.resource]),
    }));
  }
}
