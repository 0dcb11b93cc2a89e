import { and, asc, eq } from "drizzle-orm";
import { Failure } from "../core/errors.ts";
import type { TokenRecord, TokenStore } from "../core/token.ts";
import type { Database } from "./database.ts";
import { tokens } from "./schema.ts";
import { violatedConstraint } from "./sql_failure.ts";

/** Tokens in the local file: they open this daemon, wherever its definitions stand. */
export class LibsqlTokenStore implements TokenStore {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  async list(): Promise<readonly TokenRecord[]> {
    const rows = await this.#database.run((queries) =>
      queries.select().from(tokens).orderBy(asc(tokens.namespace), asc(tokens.name))
    );
    return rows.map(({ expiresAt, rate, ...row }) => ({
      ...row,
      rate: rate ?? undefined,
      expiresAt: expiresAt ?? undefined,
    }));
  }

  async create(record: TokenRecord): Promise<void> {
    try {
      await this.#database.run((queries) => queries.insert(tokens).values(record));
    } catch (cause) {
      if (violatedConstraint(cause) !== "unique") throw cause;
      throw new Failure(
        "already_exists",
        `cannot create token ${JSON.stringify(record.name)}: there is one of this name, remove it or choose another`,
        { cause },
      );
    }
  }

  async delete(namespace: string, name: string): Promise<boolean> {
    const rows = await this.#database.run((queries) =>
      queries.delete(tokens).where(and(eq(tokens.namespace, namespace), eq(tokens.name, name)))
        .returning({ id: tokens.id })
    );
    return rows.length > 0;
  }
}
