import { and, asc, eq, type SQL, sql } from "drizzle-orm";
import type { FunctionRecord, FunctionStore } from "../core/function.ts";
import type { Database } from "./database.ts";
import { namespaceRow } from "./namespaces.ts";
import { functions, namespaces } from "./schema.ts";

/** Deployed functions. What `core/function.ts` calls settings is one column of JSON, so a new setting needs no migration. */
export class LibsqlFunctionStore implements FunctionStore {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  async get(namespace: string, name: string): Promise<FunctionRecord | undefined> {
    return (await this.#select(and(eq(functions.namespace, namespace), eq(functions.name, name))))[0];
  }

  list(namespace: string): Promise<readonly FunctionRecord[]> {
    return this.#select(eq(functions.namespace, namespace));
  }

  all(): Promise<readonly FunctionRecord[]> {
    return this.#select();
  }

  put(record: Parameters<FunctionStore["put"]>[0]): Promise<FunctionRecord> {
    const { namespace, name, digest, ...settings } = record;
    const now = new Date();
    return this.#database.run(async (queries) => {
      const [, [row]] = await queries.batch([
        queries.insert(namespaces).values(namespaceRow(namespace)).onConflictDoNothing(),
        queries.insert(functions)
          .values({ namespace, name, digest, revision: 1, settings, createdAt: now, updatedAt: now })
          .onConflictDoUpdate({
            target: [functions.namespace, functions.name],
            set: { digest, settings, updatedAt: now, revision: sql`${functions.revision} + 1` },
          })
          .returning(),
      ]);
      return toRecord(row!);
    });
  }

  async delete(namespace: string, name: string): Promise<boolean> {
    const rows = await this.#database.run((queries) =>
      queries.delete(functions)
        .where(and(eq(functions.namespace, namespace), eq(functions.name, name)))
        .returning({ name: functions.name })
    );
    return rows.length > 0;
  }

  #select(condition?: SQL): Promise<FunctionRecord[]> {
    return this.#database.run(async (queries) =>
      (await queries.select().from(functions).where(condition).orderBy(asc(functions.namespace), asc(functions.name)))
        .map(toRecord)
    );
  }
}

function toRecord({ settings, ...row }: typeof functions.$inferSelect): FunctionRecord {
  return { ...settings, ...row };
}
