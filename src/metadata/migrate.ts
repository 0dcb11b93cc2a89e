import { eq, sql } from "drizzle-orm";
import { Failure, messageOf } from "../core/errors.ts";
import type { Database } from "./database.ts";
import { migrations } from "./migrations.ts";
import { meta } from "./schema.ts";

const versionKey = "schema_version";

/**
 * Brings a database to this program's schema, one transaction per version.
 *
 * @param options.backupOf the database's file: where it holds an older schema, a copy is left beside it first, as
 * `<file>.before-<version>`.
 * @returns the version it had; 0 for a new one.
 * @throws failed_precondition when the schema is newer than this program, naming both versions.
 */
export async function migrate(
  database: Database,
  options: { readonly backupOf?: string; readonly steps?: readonly (readonly string[])[] } = {},
): Promise<number> {
  const steps = options.steps ?? migrations;
  const version = await schemaVersion(database);
  if (version > steps.length) {
    throw new Failure(
      "failed_precondition",
      `cannot use database ${JSON.stringify(database.name)}: its schema has version ${version}, this program knows ` +
        `${steps.length}: use the program that wrote it, or a newer one`,
      { details: { found: version, known: steps.length } },
    );
  }
  if (version === steps.length) return version;
  if (version > 0 && options.backupOf !== undefined) {
    await database.copyTo(`${options.backupOf}.before-${steps.length}`);
  }
  for (let next = version; next < steps.length; next++) await apply(database, next + 1, steps[next] ?? []);
  return version;
}

/** The version of a database's schema; 0 for an empty one. */
export async function schemaVersion(database: Database): Promise<number> {
  const tables = await database.run((queries) =>
    queries.all<{ name: string }>(sql`SELECT name FROM sqlite_master WHERE type = 'table' AND name = 'meta'`)
  );
  if (tables.length === 0) return 0;
  const [row] = await database.run((queries) => queries.select().from(meta).where(eq(meta.key, versionKey)));
  return row === undefined ? 0 : Number(row.value);
}

async function apply(database: Database, version: number, statements: readonly string[]): Promise<void> {
  try {
    await database.apply([
      { sql: "CREATE TABLE IF NOT EXISTS meta (key text PRIMARY KEY NOT NULL, value text NOT NULL)", args: [] },
      ...statements.map((sql) => ({ sql, args: [] })),
      {
        sql: "INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        args: [versionKey, String(version)],
      },
    ]);
  } catch (cause) {
    throw new Failure(
      "failed_precondition",
      `cannot bring database ${JSON.stringify(database.name)} to schema version ${version}: ${messageOf(cause)}: ` +
        "nothing of this version was applied",
      { cause },
    );
  }
}
