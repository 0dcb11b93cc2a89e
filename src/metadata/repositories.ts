import { and, asc, eq, gt, inArray, like, lt, type SQL } from "drizzle-orm";
import type { Digest } from "../core/digest.ts";
import type { LinkedManifest, Repository, RepositoryStore } from "../core/repository.ts";
import type { Database } from "./database.ts";
import { registryBlobs, registryManifests } from "./schema.ts";

/** A use is written down again when the last one is so old. */
const useEveryMs = 3600_000;
/** Rows that one statement takes. */
const slice = 500;

type Table = typeof registryManifests | typeof registryBlobs;

/**
 * The repositories of this machine. A manifest is durable when it is answered for, and with it what its client had pushed
 * before: both connections write to the same log.
 */
export class LibsqlRepositoryStore implements RepositoryStore {
  readonly #durable: Database;
  readonly #relaxed: Database;

  constructor(databases: { readonly durable: Database; readonly relaxed: Database }) {
    this.#durable = databases.durable;
    this.#relaxed = databases.relaxed;
  }

  async manifest(at: Repository, digest: Digest): Promise<LinkedManifest | undefined> {
    const [row] = await this.#relaxed.run((queries) =>
      queries.select().from(registryManifests).where(one(registryManifests, at, digest))
    );
    if (row === undefined) return undefined;
    await this.#use(registryManifests, at, [row]);
    return toManifest(row);
  }

  async putManifest(at: Repository, manifest: LinkedManifest): Promise<void> {
    const { subject, artifactType, annotations, ...rest } = manifest;
    const row = {
      ...at,
      ...rest,
      references: [...rest.references],
      subject: subject ?? null,
      artifactType: artifactType ?? null,
      annotations: annotations ?? null,
      usedAt: new Date(),
    };
    const { namespace, repository, digest } = registryManifests;
    await this.#durable.run((queries) =>
      queries.insert(registryManifests).values(row)
        .onConflictDoUpdate({ target: [namespace, repository, digest], set: row })
    );
  }

  deleteManifest(at: Repository, digest: Digest): Promise<boolean> {
    return this.#delete(this.#durable, registryManifests, at, digest);
  }

  async referrers(
    at: Repository,
    subject: Digest,
    { last = "", limit }: { readonly last?: string | undefined; readonly limit: number },
  ): Promise<readonly LinkedManifest[]> {
    const { subject: column, digest } = registryManifests;
    const rows = await this.#relaxed.run((queries) =>
      queries.select().from(registryManifests)
        .where(and(within(registryManifests, at), eq(column, subject), gt(digest, last)))
        .orderBy(asc(digest)).limit(limit)
    );
    return rows.map(toManifest);
  }

  async has(at: Repository): Promise<boolean> {
    for (const table of [registryManifests, registryBlobs]) {
      const rows = await this.#relaxed.run((queries) =>
        queries.select({ digest: table.digest }).from(table).where(within(table, at)).limit(1)
      );
      if (rows.length > 0) return true;
    }
    return false;
  }

  async needs(at: Repository, digest: Digest): Promise<boolean> {
    const rows = await this.#relaxed.run((queries) =>
      queries.select({ digest: registryManifests.digest }).from(registryManifests)
        .where(and(within(registryManifests, at), like(registryManifests.references, `%"${digest}"%`))).limit(1)
    );
    return rows.length > 0;
  }

  async blobs(at: Repository, digests: readonly Digest[]): Promise<ReadonlySet<Digest>> {
    const found = new Set<Digest>();
    for (let i = 0; i < digests.length; i += slice) {
      const rows = await this.#relaxed.run((queries) =>
        queries.select().from(registryBlobs)
          .where(and(within(registryBlobs, at), inArray(registryBlobs.digest, digests.slice(i, i + slice))))
      );
      await this.#use(registryBlobs, at, rows);
      for (const { digest } of rows) found.add(digest as Digest);
    }
    return found;
  }

  async hasBlob(namespace: string, digest: Digest): Promise<boolean> {
    const rows = await this.#relaxed.run((queries) =>
      queries.select({ digest: registryBlobs.digest }).from(registryBlobs)
        .where(and(eq(registryBlobs.namespace, namespace), eq(registryBlobs.digest, digest))).limit(1)
    );
    return rows.length > 0;
  }

  async putBlobs({ namespace, repository }: Repository, digests: readonly Digest[]): Promise<void> {
    const usedAt = new Date();
    const target = [registryBlobs.namespace, registryBlobs.repository, registryBlobs.digest];
    for (let i = 0; i < digests.length; i += slice) {
      const rows = digests.slice(i, i + slice).map((digest) => ({ namespace, repository, digest, usedAt }));
      await this.#relaxed.run((queries) =>
        queries.insert(registryBlobs).values(rows).onConflictDoUpdate({ target, set: { usedAt } })
      );
    }
  }

  deleteBlob(at: Repository, digest: Digest): Promise<boolean> {
    return this.#delete(this.#relaxed, registryBlobs, at, digest);
  }

  async digests(): Promise<readonly Digest[]> {
    return await this.#relaxed.run(async (queries) => {
      const rows = await queries.select({ digest: registryManifests.digest }).from(registryManifests)
        .union(queries.select({ digest: registryBlobs.digest }).from(registryBlobs));
      return rows.map(({ digest }) => digest as Digest);
    });
  }

  async prune(tagged: (at: Repository) => Iterable<string>, usedBefore: Date): Promise<number> {
    let removed = 0;
    const repositories = await this.#relaxed.run((queries) => {
      const old = (table: Table) =>
        queries.select({ namespace: table.namespace, repository: table.repository }).from(table)
          .where(lt(table.usedAt, usedBefore));
      return old(registryManifests).union(old(registryBlobs));
    });
    for (const at of repositories) {
      const manifests = await this.#relaxed.run((queries) =>
        queries.select().from(registryManifests).where(within(registryManifests, at))
      );
      const used = manifests.filter(({ usedAt }) => usedAt >= usedBefore).map(({ digest }) => digest);
      const led = ledTo(manifests, [...tagged(at), ...used]);
      const stays = ({ digest }: { digest: string }) => led.has(digest);
      const needed = new Set(manifests.filter(stays).flatMap(({ references }) => references as readonly string[]));
      const blobs = await this.#relaxed.run((queries) =>
        queries.select().from(registryBlobs).where(and(within(registryBlobs, at), lt(registryBlobs.usedAt, usedBefore)))
      );
      const before = lt(registryManifests.usedAt, usedBefore);
      removed += await this.#prune(registryManifests, at, manifests.filter((row) => !stays(row)), before);
      const unused = lt(registryBlobs.usedAt, usedBefore);
      removed += await this.#prune(registryBlobs, at, blobs.filter(({ digest }) => !needed.has(digest)), unused);
    }
    return removed;
  }

  /** @param unused what has been used since it was read stays. */
  async #prune(table: Table, at: Repository, rows: readonly { digest: string }[], unused: SQL): Promise<number> {
    for (let i = 0; i < rows.length; i += slice) {
      const digests = rows.slice(i, i + slice).map(({ digest }) => digest);
      await this.#relaxed.run((queries) =>
        queries.delete(table).where(and(within(table, at), inArray(table.digest, digests), unused))
      );
    }
    return rows.length;
  }

  async #use(table: Table, at: Repository, rows: readonly { digest: string; usedAt: Date }[]): Promise<void> {
    const now = Date.now();
    const digests = rows.filter(({ usedAt }) => usedAt.getTime() < now - useEveryMs).map(({ digest }) => digest);
    if (digests.length === 0) return;
    await this.#relaxed.run((queries) =>
      queries.update(table).set({ usedAt: new Date(now) }).where(and(within(table, at), inArray(table.digest, digests)))
    );
  }

  async #delete(database: Database, table: Table, at: Repository, digest: Digest): Promise<boolean> {
    const rows = await database.run((queries) =>
      queries.delete(table).where(one(table, at, digest)).returning({ digest: table.digest })
    );
    return rows.length > 0;
  }
}

function within(table: Table, { namespace, repository }: Repository): SQL | undefined {
  return and(eq(table.namespace, namespace), eq(table.repository, repository));
}

function one(table: Table, at: Repository, digest: Digest): SQL | undefined {
  return and(within(table, at), eq(table.digest, digest));
}

/** The manifests that some lead to, those themselves included. */
function ledTo(
  manifests: readonly { readonly digest: string; readonly subject: string | null; readonly references: string[] }[],
  from: readonly string[],
): ReadonlySet<string> {
  const byDigest = new Map(manifests.map((manifest) => [manifest.digest, manifest]));
  const bySubject = Map.groupBy(manifests, ({ subject }) => subject);
  const led = new Set<string>();
  const next = [...from];
  for (let digest = next.pop(); digest !== undefined; digest = next.pop()) {
    const manifest = byDigest.get(digest);
    if (manifest === undefined || led.has(digest)) continue;
    led.add(digest);
    next.push(...manifest.references, ...(bySubject.get(digest) ?? []).map(({ digest }) => digest));
  }
  return led;
}

function toManifest(row: typeof registryManifests.$inferSelect): LinkedManifest {
  const { digest, mediaType, size, artifactType, subject, annotations, references } = row;
  return {
    digest: digest as Digest,
    mediaType,
    size,
    references,
    artifactType: artifactType ?? undefined,
    subject: subject === null ? undefined : subject as Digest,
    annotations: annotations ?? undefined,
  };
}
