import { and, asc, eq, gt, inArray, like, lt, type SQL } from "drizzle-orm";
import type { Digest } from "../core/digest.ts";
import type { LinkedManifest, Repository, RepositoryStore } from "../core/repository.ts";
import type { WriteBarrier } from "../core/write_barrier.ts";
import { Slice } from "../linux/slice.ts";
import type { Database } from "./database.ts";
import { paged } from "./paged.ts";
import { registryBlobs, registryManifests } from "./schema.ts";

/** A use is written down again when the last one is so old. */
const useEveryMs = 3600_000;
/** Rows that one statement takes. */
const rowsAtOnce = 200;

const tables = [registryManifests, registryBlobs] as const;
type Table = typeof registryManifests | typeof registryBlobs;

/**
 * The repositories of this machine. A manifest is durable when it is answered for, and with it what its client had pushed
 * before: both connections write to the same log.
 */
export class LibsqlRepositoryStore implements RepositoryStore {
  readonly #durable: Database;
  readonly #relaxed: Database;
  readonly #barrier: WriteBarrier;

  constructor(databases: { readonly durable: Database; readonly relaxed: Database }, barrier: WriteBarrier) {
    this.#durable = databases.durable;
    this.#relaxed = databases.relaxed;
    this.#barrier = barrier;
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
    await this.#barrier.added([`content/${manifest.digest}`]);
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
    for (const table of tables) if (await this.#any(table, within(table, at))) return true;
    return false;
  }

  needs(at: Repository, digest: Digest): Promise<boolean> {
    const names = like(registryManifests.references, `%"${digest}"%`);
    return this.#any(registryManifests, and(within(registryManifests, at), names));
  }

  manifests(at: Repository, digests: readonly Digest[]): Promise<ReadonlySet<Digest>> {
    return this.#found(registryManifests, at, digests);
  }

  blobs(at: Repository, digests: readonly Digest[]): Promise<ReadonlySet<Digest>> {
    return this.#found(registryBlobs, at, digests);
  }

  async #found(table: Table, at: Repository, digests: readonly Digest[]): Promise<ReadonlySet<Digest>> {
    const found = new Set<Digest>();
    for (let i = 0; i < digests.length; i += rowsAtOnce) {
      const rows = await this.#relaxed.run((queries) =>
        queries.select({ digest: table.digest, usedAt: table.usedAt }).from(table)
          .where(and(within(table, at), inArray(table.digest, digests.slice(i, i + rowsAtOnce))))
      );
      await this.#use(table, at, rows);
      for (const { digest } of rows) found.add(digest as Digest);
    }
    return found;
  }

  hasBlob(namespace: string, digest: Digest): Promise<boolean> {
    return this.#any(registryBlobs, and(eq(registryBlobs.digest, digest), eq(registryBlobs.namespace, namespace)));
  }

  async putBlobs({ namespace, repository }: Repository, digests: readonly Digest[]): Promise<void> {
    const usedAt = new Date();
    const target = [registryBlobs.namespace, registryBlobs.repository, registryBlobs.digest];
    for (let i = 0; i < digests.length; i += rowsAtOnce) {
      const rows = digests.slice(i, i + rowsAtOnce).map((digest) => ({ namespace, repository, digest, usedAt }));
      await this.#relaxed.run((queries) =>
        queries.insert(registryBlobs).values(rows).onConflictDoUpdate({ target, set: { usedAt } })
      );
    }
    await this.#barrier.added(digests.map((digest) => `content/${digest}`));
  }

  deleteBlob(at: Repository, digest: Digest): Promise<boolean> {
    return this.#delete(this.#relaxed, registryBlobs, at, digest);
  }

  async links(): Promise<readonly Digest[]> {
    const links = await Promise.all(
      tables.map((table: Table) =>
        paged<{ readonly digest: string }>((last, limit) =>
          this.#relaxed.run((queries) =>
            queries.selectDistinct({ digest: table.digest }).from(table).where(gt(table.digest, last?.digest ?? ""))
              .orderBy(asc(table.digest)).limit(limit)
          )
        )
      ),
    );
    return links.flatMap((rows) => rows.map(({ digest }) => digest as Digest));
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
      const manifests = await this.#all(registryManifests, at);
      const used = manifests.filter(({ usedAt }) => usedAt >= usedBefore).map(({ digest }) => digest);
      const led = await ledTo(manifests, [...tagged(at), ...used]);
      const [stay, go] = [
        manifests.filter(({ digest }) => led.has(digest)),
        manifests.filter(({ digest }) => !led.has(digest)),
      ];
      const needed = new Set(stay.flatMap(({ references }) => references as readonly string[]));
      const blobs = (await this.#all(registryBlobs, at)).filter(({ digest }) => !needed.has(digest));
      removed += await this.#prune(registryManifests, at, go, usedBefore);
      removed += await this.#prune(registryBlobs, at, blobs, usedBefore);
    }
    return removed;
  }

  /** Every row of a repository, some at a time. */
  #all<T extends Table>(table: T, at: Repository): Promise<T["$inferSelect"][]> {
    return paged<T["$inferSelect"]>((last, limit) =>
      this.#relaxed.run((queries) =>
        queries.select().from(table as Table).where(and(within(table, at), gt(table.digest, last?.digest ?? "")))
          .orderBy(asc(table.digest)).limit(limit)
      )
    );
  }

  async #any(table: Table, condition: SQL | undefined): Promise<boolean> {
    const rows = await this.#relaxed.run((queries) =>
      queries.select({ digest: table.digest }).from(table).where(condition).limit(1)
    );
    return rows.length > 0;
  }

  /** Removes rows, those apart that have been used meanwhile. @returns how many. */
  async #prune(table: Table, at: Repository, rows: readonly { digest: string }[], usedBefore: Date): Promise<number> {
    let removed = 0;
    for (let i = 0; i < rows.length; i += rowsAtOnce) {
      const digests = rows.slice(i, i + rowsAtOnce).map(({ digest }) => digest);
      const unused = and(within(table, at), inArray(table.digest, digests), lt(table.usedAt, usedBefore));
      removed += (await this.#relaxed.run((queries) =>
        queries.delete(table).where(unused).returning({ digest: table.digest })
      )).length;
      await turn();
    }
    return removed;
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

/** Lets others have a turn: the driver answers within the same one. */
function turn(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 0));
}

function within(table: Table, { namespace, repository }: Repository): SQL | undefined {
  return and(eq(table.namespace, namespace), eq(table.repository, repository));
}

function one(table: Table, at: Repository, digest: Digest): SQL | undefined {
  return and(within(table, at), eq(table.digest, digest));
}

/** The manifests that some lead to, those themselves included. */
async function ledTo(
  manifests: readonly { readonly digest: string; readonly subject: string | null; readonly references: string[] }[],
  from: readonly string[],
): Promise<ReadonlySet<string>> {
  const slice = new Slice();
  const byDigest = new Map(manifests.map((manifest) => [manifest.digest, manifest]));
  const bySubject = Map.groupBy(manifests, ({ subject }) => subject);
  const led = new Set<string>();
  const next = [...from];
  for (let digest = next.pop(); digest !== undefined; digest = next.pop()) {
    const manifest = byDigest.get(digest);
    if (slice.over) await slice.next();
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
