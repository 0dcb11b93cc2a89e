import { and, asc, desc, eq, gt, or, type SQL, sql } from "drizzle-orm";
import * as v from "valibot";
import {
  defaultKeptRevisions,
  type DeployedFunction,
  type FunctionRecord,
  type FunctionStore,
  type KeptRevision,
} from "../core/function.ts";
import { allToLatest, latest, type Traffic } from "../core/revision.ts";
import type { WriteBarrier } from "../core/write_barrier.ts";
import type { Database, Queries } from "./database.ts";
import { namespaceRow } from "./namespaces.ts";
import { paged } from "./paged.ts";
import { referencesOfMounts } from "./references.ts";
import { functions, namespaces, revisions } from "./schema.ts";

type Used = Awaited<ReturnType<FunctionStore["images"]>>[number];
const MountedSchema = v.array(v.object({ image: v.string(), digest: v.string() }));

/** How many are read at once, where all are. */
const pageLength = 200;

/**
 * Functions, and their revisions beside them. What `core/function.ts` calls settings is one column of JSON, so a new setting
 * needs no migration.
 */
export class LibsqlFunctionStore implements FunctionStore {
  readonly #database: Database;
  readonly #barrier: WriteBarrier;

  constructor(database: Database, barrier: WriteBarrier) {
    this.#database = database;
    this.#barrier = barrier;
  }

  async get(namespace: string, name: string): Promise<DeployedFunction | undefined> {
    return (await this.#select(isFunction(namespace, name)))[0];
  }

  list(namespace: string): Promise<readonly DeployedFunction[]> {
    return this.#select(eq(functions.namespace, namespace));
  }

  async *all(): AsyncGenerator<DeployedFunction> {
    let page = await this.#select(undefined, pageLength);
    while (true) {
      yield* page;
      const last = page.at(-1);
      if (last === undefined || page.length < pageLength) return;
      page = await this.#select(
        or(
          gt(functions.namespace, last.namespace),
          and(eq(functions.namespace, last.namespace), gt(functions.name, last.name)),
        ),
        pageLength,
      );
    }
  }

  async put(
    record: Parameters<FunctionStore["put"]>[0],
    { traffic, keep }: Parameters<FunctionStore["put"]>[1] = {},
  ): Promise<DeployedFunction> {
    const { namespace, name, digest, ...settings } = record;
    const now = new Date();
    const put = await this.#database.run(async (queries) => {
      const [, [row], [revision]] = await queries.batch([
        queries.insert(namespaces).values(namespaceRow(namespace)).onConflictDoNothing(),
        queries.insert(functions)
          .values({ namespace, name, revision: 1, createdAt: now, updatedAt: now, traffic: traffic ?? allToLatest })
          .onConflictDoUpdate({
            target: [functions.namespace, functions.name],
            set: { updatedAt: now, revision: sql`${functions.revision} + 1`, ...(traffic && { traffic }) },
          })
          .returning(),
        queries.insert(revisions)
          .values({
            namespace,
            function: name,
            revision: newestOf(queries, namespace, name),
            digest,
            settings,
            createdAt: now,
            answered: false,
          })
          .returning(),
        mark(queries, namespace, name),
        forget(queries, namespace, name, keep),
      ]);
      return toFunction({ function: row!, revision: revision! });
    });
    await this.#barrier.added([`content/${digest}`, ...referencesOfMounts(put.mounts)]);
    return put;
  }

  async delete(namespace: string, name: string): Promise<boolean> {
    const [, rows] = await this.#database.run((queries) =>
      queries.batch([
        queries.delete(revisions).where(isRevision(namespace, name)),
        queries.delete(functions).where(isFunction(namespace, name)).returning({ name: functions.name }),
      ])
    );
    return rows.length > 0;
  }

  async revision(namespace: string, name: string, revision: number): Promise<FunctionRecord | undefined> {
    const [row] = await this.#database.run((queries) =>
      queries.select().from(revisions).where(and(isRevision(namespace, name), eq(revisions.revision, revision)))
    );
    return row && toRecord(row);
  }

  async revisions(namespace: string, name: string): Promise<readonly KeptRevision[]> {
    const rows = await this.#database.run((queries) =>
      queries.select().from(revisions).where(isRevision(namespace, name)).orderBy(desc(revisions.revision))
    );
    return rows.map((row) => ({ ...toRecord(row), answered: row.answered }));
  }

  async setTraffic(
    namespace: string,
    name: string,
    traffic: Traffic,
    { keep }: Parameters<FunctionStore["setTraffic"]>[3] = {},
  ): Promise<DeployedFunction | undefined> {
    await this.#database.run((queries) =>
      queries.batch([
        queries.update(functions).set({ traffic, updatedAt: new Date() }).where(isFunction(namespace, name)),
        mark(queries, namespace, name),
        forget(queries, namespace, name, keep),
      ])
    );
    return await this.get(namespace, name);
  }

  async images(): ReturnType<FunctionStore["images"]> {
    const { namespace, function: name, revision, digest, settings } = revisions;
    const mount = (field: string) => sql`json_extract(mount.value, ${`$.${field}`})`;
    const columns = {
      namespace,
      name,
      revision,
      digest,
      image: sql<string>`json_extract(${settings}, '$.image')`,
      mounted: sql<string>`(
        SELECT json_group_array(json_object('image', ${mount("source")}, 'digest', coalesce(${mount("digest")}, '')))
        FROM json_each(${settings}, '$.mounts') AS mount WHERE ${mount("type")} = 'image')`,
    };
    const rows = await paged<Used & { readonly name: string; readonly revision: number; readonly mounted: string }>(
      (last, limit) =>
        this.#database.run((queries) =>
          queries.select(columns).from(revisions)
            .where(
              last && sql`(${namespace}, ${name}, ${revision}) > (${last.namespace}, ${last.name}, ${last.revision})`,
            )
            .orderBy(asc(namespace), asc(name), asc(revision)).limit(limit)
        ),
    );
    const used = new Map<string, Used>();
    for (const { namespace, image, digest, mounted } of rows) {
      for (const each of [{ image, digest }, ...v.parse(MountedSchema, JSON.parse(mounted))]) {
        used.set(JSON.stringify([namespace, each]), { namespace, ...each });
      }
    }
    return [...used.values()];
  }

  /** @param limit default -1, all. */
  #select(condition?: SQL, limit = -1): Promise<DeployedFunction[]> {
    return this.#database.run(async (queries) => {
      const rows = await queries.select({ function: functions, revision: revisions }).from(functions)
        .innerJoin(
          revisions,
          and(
            eq(revisions.namespace, functions.namespace),
            eq(revisions.function, functions.name),
            eq(revisions.revision, functions.revision),
          ),
        )
        .where(condition)
        .orderBy(asc(functions.namespace), asc(functions.name)).limit(limit);
      return rows.map(toFunction);
    });
  }
}

function isFunction(namespace: string, name: string): SQL | undefined {
  return and(eq(functions.namespace, namespace), eq(functions.name, name));
}

function isRevision(namespace: string, name: string): SQL | undefined {
  return and(eq(revisions.namespace, namespace), eq(revisions.function, name));
}

/** The number that the function's row has by now. */
function newestOf(queries: Queries, namespace: string, name: string): SQL<number> {
  return sql<number>`${
    queries.select({ revision: functions.revision }).from(functions).where(isFunction(namespace, name))
  }`;
}

/** Notes which revisions have traffic, as `core/revision.ts` names them. */
function mark(queries: Queries, namespace: string, name: string) {
  const answering = sql`
    SELECT json_extract(part.value, '$.revision') FROM functions, json_each(functions.traffic, '$.split') AS part
      WHERE functions.namespace = ${namespace} AND functions.name = ${name}`;
  return queries.update(revisions).set({ answered: true }).where(and(
    isRevision(namespace, name),
    sql`(${nameOfRevision} IN (${answering}) OR
      (${revisions.revision} = ${newestOf(queries, namespace, name)} AND ${latest} IN (${answering})))`,
  ));
}

/** As `revisionName` makes it. */
const nameOfRevision = sql`printf('%s-%05d', ${revisions.function}, ${revisions.revision})`;

/** Removes revisions that are too old to be kept, and may be asked for by nobody. */
function forget(queries: Queries, namespace: string, name: string, keep = defaultKeptRevisions) {
  const newest = queries.select({ revision: revisions.revision }).from(revisions).where(isRevision(namespace, name))
    .orderBy(desc(revisions.revision)).limit(Math.max(keep, 1));
  const answering = sql`
    SELECT json_extract(part.value, '$.revision') FROM functions, json_each(functions.traffic, '$.split') AS part
      WHERE functions.namespace = ${namespace} AND functions.name = ${name}
    UNION SELECT tag.value FROM functions, json_each(functions.traffic, '$.tags') AS tag
      WHERE functions.namespace = ${namespace} AND functions.name = ${name}
    UNION SELECT published.key FROM functions, json_each(functions.traffic, '$.published') AS published
      WHERE functions.namespace = ${namespace} AND functions.name = ${name}
    UNION SELECT share.key FROM functions, json_tree(functions.traffic, '$.shares') AS share
      WHERE functions.namespace = ${namespace} AND functions.name = ${name} AND share.type = 'integer'`;
  return queries.delete(revisions).where(and(
    isRevision(namespace, name),
    sql`${revisions.revision} NOT IN ${newest}`,
    sql`${nameOfRevision} NOT IN (${answering})`,
  ));
}

function toRecord({ settings, function: name, answered: _, ...row }: typeof revisions.$inferSelect): FunctionRecord {
  return { ...settings, ...row, name, updatedAt: row.createdAt };
}

function toFunction({ function: row, revision }: {
  readonly function: typeof functions.$inferSelect;
  readonly revision: typeof revisions.$inferSelect;
}): DeployedFunction {
  return { ...toRecord(revision), ...row };
}
