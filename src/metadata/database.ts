import type { Client } from "@libsql/client";
import { createClient } from "@libsql/client/sqlite3";
import { drizzle } from "drizzle-orm/libsql/sqlite3";
import { closeSync, openSync, rmSync } from "node:fs";
import { codeOf, Failure, messageOf } from "../core/errors.ts";
import { sqlFailure } from "./sql_failure.ts";

/** The query builder over one connection. */
export type Queries = ReturnType<typeof drizzle>;

/** SQL as it is; a value for each `?` in it. */
export interface Statement {
  readonly sql: string;
  readonly args: readonly (string | number | Uint8Array | null)[];
}

/** How long a statement waits for another process's lock. It waits in this thread, so not long. */
const busyTimeoutMs = 1000;

/** How long a database at a URL may take until it is ready. */
const openTimeoutMs = 5000;

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
  readonly #prepare: (() => Promise<void>) | undefined;
  /** The attempt to make it ready that is under way, or has succeeded. */
  #ready: Promise<void> | undefined;

  /** @param prepare has to have succeeded once before the first query. */
  private constructor(name: string, client: Client, prepare?: () => Promise<void>) {
    this.name = name;
    this.#client = client;
    this.#queries = drizzle(client);
    this.#prepare = prepare;
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
   * Opens a database at a libSQL URL (`libsql:`, `https:`, `http:`, `wss:`, `ws:` or `file:`). One that does not answer now
   * is tried again with every query, which fails as unavailable until it does.
   * @param options.prepare what is done to it before the first query.
   * @param options.onUnavailable told why it does not answer now.
   * @throws invalid_argument for what is no such URL; unauthenticated; what `prepare` throws.
   */
  static async remote(url: string, { authToken, prepare, onUnavailable }: {
    readonly authToken: string | undefined;
    readonly prepare: (database: Database) => Promise<void>;
    readonly onUnavailable: (error: unknown) => void;
  }): Promise<Database> {
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
    const name = new URL(url).origin === "null" ? url : new URL(url).origin;
    const unprepared = new Database(name, client);
    const database = new Database(name, client, () => prepare(unprepared));
    try {
      await database.#open();
    } catch (error) {
      if (codeOf(error) !== "unavailable") {
        client.close();
        throw error;
      }
      onUnavailable(error);
    }
    return database;
  }

  /** Resolves when queries may run. Who comes during an attempt waits for that one. */
  #open(): Promise<void> {
    if (this.#prepare === undefined) return Promise.resolve();
    this.#ready ??= within(openTimeoutMs, this.name, this.#prepare()).catch((error) => {
      this.#ready = undefined;
      throw sqlFailure(error, this.name);
    });
    return this.#ready;
  }

  /** Runs queries; whatever fails comes out as a `Failure`, the driver's error as its cause. */
  async run<T>(query: (queries: Queries) => Promise<T>): Promise<T> {
    if (this.#prepare !== undefined) await this.#open();
    try {
      return await query(this.#queries);
    } catch (error) {
      throw sqlFailure(error, this.name);
    }
  }

  /** Runs statements in one transaction; one alone is one. */
  async apply(statements: readonly Statement[]): Promise<void> {
    if (this.#prepare !== undefined) await this.#open();
    const [first, ...others] = statements.map(({ sql, args }) => ({ sql, args: [...args] }));
    if (first === undefined) return;
    try {
      if (others.length === 0) await this.#client.execute(first);
      else await this.#client.batch([first, ...others], "write");
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

/** @throws unavailable when the work has not ended in time. */
async function within(ms: number, name: string, work: Promise<void>): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(
        new Failure("unavailable", `cannot use database ${JSON.stringify(name)}: it does not answer within ${ms} ms`),
      );
    }, ms);
  });
  try {
    await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
