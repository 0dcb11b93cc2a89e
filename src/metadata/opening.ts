import { sql } from "drizzle-orm";
import type { Database } from "./database.ts";
import { meta } from "./schema.ts";

const key = "openings";

/** Counts how often a root was opened, durably. @returns this one's number, from 1. */
export async function countOpening(database: Database): Promise<number> {
  const [row] = await database.run((queries) =>
    queries.insert(meta)
      .values({ key, value: "1" })
      .onConflictDoUpdate({ target: meta.key, set: { value: sql`CAST(${meta.value} AS INTEGER) + 1` } })
      .returning()
  );
  return Number(row?.value);
}
