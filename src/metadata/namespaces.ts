import { asc, eq } from "drizzle-orm";
import { Failure } from "../core/errors.ts";
import type { Namespace, NamespaceStore } from "../core/metadata.ts";
import type { Database } from "./database.ts";
import {
  calls,
  containers,
  idRanges,
  invocations,
  leases,
  namespaces,
  registryBlobs,
  registryManifests,
  scheduleMarks,
  tokens,
} from "./schema.ts";
import { violatedConstraint } from "./sql_failure.ts";

/** The namespace that is always there. */
export const defaultNamespace = "default";

/** Namespaces stand beside the definitions in them; what is local refers to them by name. */
export class LibsqlNamespaceStore implements NamespaceStore {
  readonly #definitions: Database;
  readonly #local: Database;

  constructor(databases: { readonly definitions: Database; readonly local: Database }) {
    this.#definitions = databases.definitions;
    this.#local = databases.local;
  }

  list(): Promise<readonly Namespace[]> {
    return this.#definitions.run((queries) => queries.select().from(namespaces).orderBy(asc(namespaces.name)));
  }

  ensure(name: string, labels: Readonly<Record<string, string>> = {}): Promise<Namespace> {
    return this.#definitions.run(async (queries) => {
      // Setting the name to itself makes RETURNING give the row that is there.
      const [row] = await queries.insert(namespaces)
        .values({ name, labels, createdAt: new Date() })
        .onConflictDoUpdate({ target: namespaces.name, set: { name } })
        .returning();
      return row!;
    });
  }

  async delete(name: string): Promise<boolean> {
    const action = `cannot delete namespace ${JSON.stringify(name)}`;
    if (name === defaultNamespace) throw new Failure("failed_precondition", `${action}: it is always there`);
    const [inUse] = await this.#local.run((queries) =>
      queries.select({ id: containers.id }).from(containers).where(eq(containers.namespace, name)).limit(1)
    );
    if (inUse !== undefined) {
      throw new Failure("failed_precondition", `${action}: it has containers, delete them first`);
    }
    try {
      const rows = await this.#definitions.run((queries) =>
        queries.delete(namespaces).where(eq(namespaces.name, name)).returning({ name: namespaces.name })
      );
      if (rows.length === 0) return false;
    } catch (error) {
      if (violatedConstraint(error) !== "foreign_key") throw error;
      throw new Failure("failed_precondition", `${action}: it has images, functions or secrets, delete them first`);
    }
    await this.#local.run((queries) =>
      queries.batch([
        queries.delete(leases).where(eq(leases.namespace, name)),
        queries.delete(idRanges).where(eq(idRanges.namespace, name)),
        queries.delete(invocations).where(eq(invocations.namespace, name)),
        queries.delete(scheduleMarks).where(eq(scheduleMarks.namespace, name)),
        queries.delete(calls).where(eq(calls.namespace, name)),
        // Another's namespace of this name is to have nothing of it.
        queries.delete(registryManifests).where(eq(registryManifests.namespace, name)),
        queries.delete(tokens).where(eq(tokens.namespace, name)),
        queries.delete(registryBlobs).where(eq(registryBlobs.namespace, name)),
      ])
    );
    return true;
  }
}

/** The statement that a definition's `put` begins with: its namespace comes into being with it. */
export function namespaceRow(name: string) {
  return { name, labels: {}, createdAt: new Date() };
}
