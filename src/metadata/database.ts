import type { Client } from "@libsql/client";
import { createClient } from "@libsql/client/sqlite3";
import { drizzle } from "drizzle-orm/libsql/sqlite3";
import { closeSync, openSync, rmSync } from "node:fs";
import { Failure, messageOf } from "../core/errors.ts";
import { sqlFailure } from "./sql_failure.ts";

/** The query builder over one connection. */
export type Queries = ReturnType<typeof drizzle>;

/** How long a statement waits for another process's lock. It waits in this thread, so not long. */
const busyTimeoutMs = 1000;

/**
 * One database: a file of this machine, or one at a libSQL URL.
 *
 * Every change is one statement or one `batch`, never a transaction over several turns of the event loop: the file's driver
 * works synchronously, and a second writer would wait for the first in the very thread that the first needs to go on.
 */
export class Database implements AsyncDisposable {
  /** How messages call it. */
  readonly name: string;
  readonly #client: Client;
  readonly #queries: Queries;

  private constructor(name: string, client: Client) {
    this.name = name;
    this.#client = client;
    this.#queries = drizzle(client);
  }

  /**
   * Opens a database file, creating it readable by its owner alone.
   * @param synchronous `FULL` outlives a power cut once a call has returned; `NORMAL` may lose the last calls then, in
   * order, and is never left half-written.
   * @throws data_loss for what is no database; unavailable while another process holds it; permission_denied.
   */
  static async file(path: string, synchronous: "FULL" | "NORMAL"): Promise<Database> {
    createPrivate(path);
    try {
      const url = `file:${encodeURI(path).replaceAll("?", "%3F").replaceAll("#", "%23")}`;
      const client = createClient({ url, concurrency: 1, timeout: busyTimeoutMs });
      const database = new Database(path, client);
      try {
        await client.execute("PRAGMA journal_mode = WAL");
        await client.execute(`PRAGMA synchronous = ${synchronous}`);
        await client.execute("PRAGMA foreign_keys = ON");
        return database;
      } catch (error) {
        client.close();
        throw error;
      }
    } catch (error) {
      throw sqlFailure(error, path);
    }
  }

  /**
   * Opens a database at a libSQL URL (`libsql:`, `https:`, `http:`, `wss:`, `ws:` or `file:`).
   * @throws invalid_argument for what is no such URL; unavailable where it cannot be reached; unauthenticated.
   */
  static async remote(url: string, authToken: string | undefined): Promise<Database> {
    // Loaded only where it is used: the network client brings its own HTTP and WebSocket code.
    const { createClient } = await import("@libsql/client");
    let client: Client;
    try {
      client = createClient({ url, ...(authToken === undefined ? {} : { authToken }), concurrency: 1 });
    } catch (cause) {
      throw new Failure("invalid_argument", `cannot use database ${JSON.stringify(url)}: it is no libSQL URL`, {
        cause,
      });
    }
    const database = new Database(new URL(url).origin === "null" ? url : new URL(url).origin, client);
    try {
      await client.execute("SELECT 1");
      return database;
    } catch (error) {
      client.close();
      throw sqlFailure(error, database.name);
    }
  }

  /** Runs queries; whatever fails comes out as a `Failure`, the driver's error as its cause. */
  async run<T>(query: (queries: Queries) => Promise<T>): Promise<T> {
    try {
      return await query(this.#queries);
    } catch (error) {
      throw sqlFailure(error, this.name);
    }
  }

  /** Runs statements in one transaction. */
  async apply(
    statements: readonly { readonly sql: string; readonly args: readonly (string | number)[] }[],
  ): Promise<void> {
    try {
      await this.#client.batch(statements.map(({ sql, args }) => ({ sql, args: [...args] })), "write");
    } catch (error) {
      throw sqlFailure(error, this.name);
    }
  }

  /** Writes a compact copy of a database file, readable by its owner alone. An older copy of that name is replaced. */
  async copyTo(path: string): Promise<void> {
    rmSync(path, { force: true });
    createPrivate(path);
    try {
      await this.#client.execute({ sql: "VACUUM INTO ?", args: [path] });
    } catch (error) {
      throw sqlFailure(error, this.name);
    }
  }

  /** Closes it. The driver lets go of a file only when its statements have been collected, so its log is emptied here. */
  async [Symbol.asyncDispose](): Promise<void> {
    try {
      if (this.#client.protocol === "file") await this.#client.execute("PRAGMA wal_checkpoint(TRUNCATE)");
    } finally {
      this.#client.close();
    }
  }
}

/**
 * Makes the file, since SQLite would give a new one the rights that the umask leaves, and its log the same.
 *
 * One that is there is not opened: closing any descriptor of a file gives up all of a process's locks on it, those of an
 * open connection included, and the next process to close the database would take itself for the last and remove the log.
 * @see https://www.sqlite.org/howtocorrupt.html#_posix_advisory_locks_canceled_by_a_separate_thread_doing_close_
 */
function createPrivate(path: string): void {
  try {
    closeSync(openSync(path, "wx", 0o600));
  } catch (cause) {
    if (cause instanceof Error && "code" in cause && cause.code === "EEXIST") return;
    throw new Failure("failed_precondition", `cannot open database ${JSON.stringify(path)}: ${messageOf(cause)}`, {
      cause,
    });
  }
}
