import { and, asc, eq } from "drizzle-orm";
import { Failure } from "../core/errors.ts";
import type { SecretInfo, SecretStore } from "../core/secret_store.ts";
import type { Database } from "./database.ts";
import { namespaceRow } from "./namespaces.ts";
import { namespaces, secrets } from "./schema.ts";
import { SecretCipher } from "./secret_cipher.ts";

/** What a listing reads. */
const columns = {
  namespace: secrets.namespace,
  name: secrets.name,
  createdAt: secrets.createdAt,
  updatedAt: secrets.updatedAt,
};

/** Secrets beside the definitions, sealed: the key never is where they are. */
export class LibsqlSecretStore implements SecretStore {
  readonly #database: Database;
  readonly #readKey: () => Uint8Array<ArrayBuffer>;
  #cipher: SecretCipher | undefined;

  /** @param readKey is asked once, when the first secret is written or read. */
  constructor(database: Database, readKey: () => Uint8Array<ArrayBuffer>) {
    this.#database = database;
    this.#readKey = readKey;
  }

  list(namespace: string): Promise<readonly SecretInfo[]> {
    return this.#database.run((queries) =>
      queries.select(columns).from(secrets).where(eq(secrets.namespace, namespace)).orderBy(asc(secrets.name))
    );
  }

  async open(namespace: string, name: string): Promise<Uint8Array<ArrayBuffer> | undefined> {
    const [row] = await this.#database.run((queries) =>
      queries.select({ sealed: secrets.sealed }).from(secrets).where(at(namespace, name))
    );
    if (row === undefined) return undefined;
    const value = await this.#open().open(namespace, name, row.sealed);
    if (value !== undefined) return value;
    throw new Failure(
      "failed_precondition",
      `cannot read secret ${JSON.stringify(name)} of namespace ${
        JSON.stringify(namespace)
      }: this daemon's key has not ` +
        "sealed it: set MAYFLY_SECRET_KEY, or put secret.key back; or give it its value again: " +
        "mayfly secret create --replace",
    );
  }

  async create(namespace: string, name: string, value: Uint8Array<ArrayBuffer>): Promise<SecretInfo | undefined> {
    const sealed = await this.#open().seal(namespace, name, value);
    const now = new Date();
    return await this.#database.run(async (queries) => {
      const [, [row]] = await queries.batch([
        queries.insert(namespaces).values(namespaceRow(namespace)).onConflictDoNothing(),
        queries.insert(secrets).values({ namespace, name, sealed, createdAt: now, updatedAt: now })
          .onConflictDoNothing()
          .returning(columns),
      ]);
      return row;
    });
  }

  async update(namespace: string, name: string, value: Uint8Array<ArrayBuffer>): Promise<SecretInfo | undefined> {
    const sealed = await this.#open().seal(namespace, name, value);
    const [row] = await this.#database.run((queries) =>
      queries.update(secrets).set({ sealed, updatedAt: new Date() }).where(at(namespace, name)).returning(columns)
    );
    return row;
  }

  async delete(namespace: string, name: string): Promise<boolean> {
    const rows = await this.#database.run((queries) =>
      queries.delete(secrets).where(at(namespace, name)).returning({ name: secrets.name })
    );
    return rows.length > 0;
  }

  #open(): SecretCipher {
    return this.#cipher ??= new SecretCipher(this.#readKey());
  }
}

function at(namespace: string, name: string) {
  return and(eq(secrets.namespace, namespace), eq(secrets.name, name));
}
