import { eq } from "drizzle-orm";
import { closeSync, fsyncSync, openSync, readdirSync, readFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { Failure, messageOf } from "../core/errors.ts";
import type { Database } from "./database.ts";
import { meta } from "./schema.ts";

const key = "root_id";

export interface RootIdentity {
  readonly id: string;
  /** Why database and folder do not belong together, with the way to go on; undefined where they do. */
  readonly conflict: string | undefined;
}

/**
 * Reads which root a database belongs to, and gives a new pair one id.
 *
 * The id stands in the database and in `<root>/id`. The file is written only beside a new database in a root that has
 * nothing yet: where one of the two was lost, replaced or restored from elsewhere, the database does not know what the
 * folders hold, and must not have it collected as garbage.
 */
export async function identifyRoot(database: Database, root: string): Promise<RootIdentity> {
  const [row] = await database.run((queries) => queries.select().from(meta).where(eq(meta.key, key)));
  const id = row?.value ?? crypto.randomUUID();
  const file = join(root, "id");
  const written = readId(file);
  if (row === undefined) {
    if (written === undefined && !holdsFiles(join(root, "content")) && !holdsFiles(join(root, "snapshots"))) {
      writeId(file, id);
    }
    await database.run((queries) => queries.insert(meta).values({ key, value: id }));
  }
  const found = readId(file);
  if (found === id) return { id, conflict: undefined };
  const is = found === undefined ? "there is no such file" : `it has ${JSON.stringify(found)}`;
  return {
    id,
    conflict: `the database is of root ${JSON.stringify(id)}, but ${JSON.stringify(file)} does not say so: ${is}: ` +
      "put back the database that belongs to this folder, or have images named again (mayfly content recover), and then, " +
      `where everything that this one does not know may be removed, write its id, and start again: echo ${id} > ${file}`,
  };
}

function readId(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8").trim();
  } catch (cause) {
    if (isMissing(cause)) return undefined;
    throw unreadable(file, cause);
  }
}

function writeId(file: string, id: string): void {
  const fd = openSync(file, "wx", 0o644);
  try {
    writeSync(fd, `${id}\n`);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** Tells whether a folder holds a file at any depth. Stops at the first. */
function holdsFiles(folder: string): boolean {
  let entries;
  try {
    entries = readdirSync(folder, { withFileTypes: true });
  } catch (cause) {
    if (isMissing(cause)) return false;
    throw unreadable(folder, cause);
  }
  return entries.some((entry) => !entry.isDirectory() || holdsFiles(join(folder, entry.name)));
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "ENOENT";
}

/** What cannot be read may hold anything: nobody may take it for nothing. */
function unreadable(path: string, cause: unknown): Failure {
  return new Failure("failed_precondition", `cannot read ${JSON.stringify(path)}: ${messageOf(cause)}`, { cause });
}
