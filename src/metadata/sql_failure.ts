import { type ErrorCode, Failure, messageOf } from "../core/errors.ts";

/** What a failed statement ran into, by SQLite's own names; undefined where the error is none of SQLite's. */
interface SqlError {
  readonly code: string;
  readonly extendedCode: string | undefined;
  readonly message: string;
}

/** Finds the driver's error: the query builder wraps it. */
function sqlErrorOf(error: unknown): SqlError | undefined {
  for (let at = error; at instanceof Error; at = at.cause) {
    if (at.name.startsWith("Libsql") && "code" in at && typeof at.code === "string") {
      const extended = "extendedCode" in at && typeof at.extendedCode === "string" ? at.extendedCode : undefined;
      return { code: at.code, extendedCode: extended, message: at.message };
    }
  }
  return undefined;
}

/** Which constraint a statement ran into, if it was one. */
export function violatedConstraint(error: unknown): "unique" | "foreign_key" | undefined {
  switch (sqlErrorOf(error)?.extendedCode) {
    case "SQLITE_CONSTRAINT_UNIQUE":
    case "SQLITE_CONSTRAINT_PRIMARYKEY":
      return "unique";
    case "SQLITE_CONSTRAINT_FOREIGNKEY":
      return "foreign_key";
    default:
      return undefined;
  }
}

const meanings: Readonly<Record<string, readonly [ErrorCode, string]>> = {
  SQLITE_BUSY: ["unavailable", "another process holds its lock: stop that one, or try again"],
  SQLITE_LOCKED: ["unavailable", "it is locked: try again"],
  SQLITE_CORRUPT: ["data_loss", "the file is damaged: stop the daemon and put a backup in its place"],
  SQLITE_NOTADB: [
    "data_loss",
    "the file is no database: stop the daemon and put a backup in its place, or move it away",
  ],
  SQLITE_FULL: ["resource_exhausted", "the disk is full: free some space, or remove images with mayfly rmi"],
  SQLITE_READONLY: ["permission_denied", "the file may not be written"],
  SQLITE_PERM: ["permission_denied", "the file may not be opened"],
  SQLITE_AUTH: ["permission_denied", "the database refuses"],
  SQLITE_CANTOPEN: ["failed_precondition", "the file cannot be opened: its folder has to exist and to be writable"],
  SQLITE_IOERR: ["unavailable", "the disk reports an error"],
  SQLITE_NOMEM: ["resource_exhausted", "no memory is left"],
  CLIENT_CLOSED: ["failed_precondition", "it is closed"],
};

/**
 * Turns what a statement threw into a failure that says what to do.
 *
 * @param database how the database is called in the message: its path or URL.
 */
export function sqlFailure(error: unknown, database: string): Failure {
  for (let at = error; at instanceof Error; at = at.cause) if (at instanceof Failure) return at;
  const found = sqlErrorOf(error);
  const [code, cure] = (found && meanings[found.code]) ?? remoteMeaning(found, error);
  return new Failure(code, `cannot use database ${JSON.stringify(database)}: ${cure}`, {
    cause: error,
    details: found === undefined ? {} : { sqlite: found.extendedCode ?? found.code },
  });
}

/** A database behind a URL fails in the network's ways, which each host calls by other names. */
function remoteMeaning(found: SqlError | undefined, error: unknown): readonly [ErrorCode, string] {
  const messages: string[] = [];
  for (let at = error; at instanceof Error; at = at.cause) messages.push(at.message);
  const text = found?.message ?? messages.at(-1) ?? messageOf(error);
  const all = messages.join("\n");
  if (/\b401\b|\b403\b|unauthorized/i.test(all)) return ["unauthenticated", "it refuses the token: set databaseToken"];
  const unreachable = found === undefined
    ? /fetch failed|ECONN|ENOTFOUND|ETIMEDOUT|unable to connect|error sending request|socket/i.test(all)
    : /^(?:HRANA|SERVER|WEBSOCKET)/.test(found.code);
  return unreachable ? ["unavailable", `it cannot be reached: ${text}`] : ["internal", text];
}
