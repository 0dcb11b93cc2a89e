import { and, desc, eq, inArray, lt, type SQL, sql } from "drizzle-orm";
import { alias } from "drizzle-orm/sqlite-core";
import { Failure } from "../core/errors.ts";
import { changeLabels, type LabelChanges, type Labels, LabelsSchema } from "../core/labels.ts";
import { parse } from "../core/parse.ts";
import type { SnapshotInfo, SnapshotOptions, SnapshotStore } from "../core/snapshotter.ts";
import type { WriteBarrier } from "../core/write_barrier.ts";
import type { Database } from "./database.ts";
import { paged } from "./paged.ts";
import { referencesOfSnapshot } from "./references.ts";
import { snapshots } from "./schema.ts";
import { violatedConstraint } from "./sql_failure.ts";

const parents = alias(snapshots, "parent");
const columns = {
  key: snapshots.key,
  kind: snapshots.kind,
  parent: parents.key,
  id: snapshots.id,
  labels: snapshots.labels,
  createdAt: snapshots.createdAt,
  updatedAt: snapshots.updatedAt,
};

/** The rows of one snapshotter. Each call is one transaction. */
export class LibsqlSnapshotStore implements SnapshotStore {
  readonly #snapshotter: string;
  readonly #relaxed: Database;
  readonly #durable: Database;
  readonly #barrier: WriteBarrier;

  /**
   * @param databases two connections to one file. Active snapshots and views are on the way of invocations, so a power cut
   * may take back the rows of the last moments; the end of a committed one must be on disk before its folder is gone, and
   * its labels may be what keeps it.
   */
  constructor(
    snapshotter: string,
    databases: { readonly relaxed: Database; readonly durable: Database },
    barrier: WriteBarrier,
  ) {
    this.#snapshotter = snapshotter;
    this.#relaxed = databases.relaxed;
    this.#durable = databases.durable;
    this.#barrier = barrier;
  }

  async get(key: string): Promise<SnapshotInfo | undefined> {
    return (await this.#select(eq(snapshots.key, key)))[0];
  }

  list(): Promise<readonly SnapshotInfo[]> {
    return paged<SnapshotInfo>((last, limit) => this.#select(last && lt(snapshots.id, last.id), limit));
  }

  async parents(key: string): Promise<readonly SnapshotInfo[]> {
    const { id } = await this.#need(key, `cannot list the parents of snapshot ${quote(key)}`);
    const chain = sql`(
      WITH RECURSIVE chain (id) AS (
        SELECT parent_id FROM snapshots WHERE id = ${id}
        UNION ALL SELECT snapshots.parent_id FROM chain JOIN snapshots ON snapshots.id = chain.id
      ) SELECT id FROM chain WHERE id IS NOT NULL)`;
    // A parent is committed before its child is made, so ids fall from the nearest to the lowest.
    return await this.#select(inArray(snapshots.id, chain));
  }

  async create(
    key: string,
    kind: "active" | "view",
    { parent, labels = {} }: Parameters<SnapshotStore["create"]>[2] = {},
  ): Promise<SnapshotInfo> {
    const action = `cannot create snapshot ${quote(key)}`;
    check(action, key, labels);
    const now = new Date();
    const parentId = parent === undefined ? null : sql`coalesce((
      SELECT id FROM snapshots WHERE snapshotter = ${this.#snapshotter} AND key = ${parent} AND kind = 'committed'
    ), -1)`;
    try {
      const [row] = await this.#relaxed.run((queries) =>
        queries.insert(snapshots)
          .values({ snapshotter: this.#snapshotter, key, kind, parentId, labels, createdAt: now, updatedAt: now })
          .returning({ id: snapshots.id })
      );
      return await this.#told({ key, kind, parent, id: row!.id, labels, createdAt: now, updatedAt: now });
    } catch (error) {
      const violated = violatedConstraint(error);
      if (violated === "unique") throw taken(action, key);
      if (violated !== "foreign_key" || parent === undefined) throw error;
      const { kind } = await this.#need(parent, action);
      throw new Failure("failed_precondition", `${action}: its parent ${quote(parent)} is ${kind}, not committed`);
    }
  }

  async commit(name: string, key: string, { labels = {} }: SnapshotOptions = {}): Promise<SnapshotInfo> {
    const action = `cannot commit snapshot ${quote(key)} as ${quote(name)}`;
    check(action, name, labels);
    const now = new Date();
    try {
      const [row] = await this.#durable.run((queries) =>
        queries.update(snapshots)
          .set({ key: name, kind: "committed", labels, createdAt: now, updatedAt: now })
          .where(
            and(eq(snapshots.snapshotter, this.#snapshotter), eq(snapshots.key, key), eq(snapshots.kind, "active")),
          )
          .returning({
            id: snapshots.id,
            parent: sql<string | null>`(
            SELECT key FROM snapshots AS parent WHERE parent.id = snapshots.parent_id
          )`,
          })
      );
      if (row !== undefined) {
        const { id, parent } = row;
        const times = { createdAt: now, updatedAt: now };
        return await this.#told({ id, parent: parent ?? undefined, key: name, kind: "committed", labels, ...times });
      }
    } catch (error) {
      throw violatedConstraint(error) === "unique" ? taken(action, name) : error;
    }
    const { kind } = await this.#need(key, action);
    if (kind === "active") throw gone(action);
    throw new Failure("failed_precondition", `${action}: it is ${kind}, not active`);
  }

  async update(key: string, changes: LabelChanges): Promise<SnapshotInfo> {
    const action = `cannot label snapshot ${quote(key)}`;
    const found = await this.#need(key, action);
    check(action, key, changeLabels(found.labels, changes));
    const updatedAt = new Date();
    const database = found.kind === "committed" ? this.#durable : this.#relaxed;
    const [row] = await database.run((queries) =>
      queries.update(snapshots)
        // In the database, so that two callers may each change a label of their own; its null takes one away, too.
        .set({ labels: sql`json_patch(${snapshots.labels}, ${JSON.stringify(changes)})`, updatedAt })
        .where(and(eq(snapshots.id, found.id), eq(snapshots.kind, found.kind)))
        .returning({ labels: snapshots.labels })
    );
    if (row === undefined) throw gone(action);
    return await this.#told({ ...found, labels: row.labels, updatedAt });
  }

  async remove(key: string): Promise<SnapshotInfo> {
    const action = `cannot remove snapshot ${quote(key)}`;
    const found = await this.#need(key, action);
    const database = found.kind === "committed" ? this.#durable : this.#relaxed;
    try {
      const rows = await database.run((queries) =>
        queries.delete(snapshots)
          .where(and(eq(snapshots.id, found.id), eq(snapshots.kind, found.kind)))
          .returning({ id: snapshots.id })
      );
      if (rows.length === 0) throw gone(action);
      return found;
    } catch (error) {
      if (violatedConstraint(error) !== "foreign_key") throw error;
      throw new Failure("failed_precondition", `${action}: other snapshots are built on it: remove them first`);
    }
  }

  async #told(info: SnapshotInfo): Promise<SnapshotInfo> {
    await this.#barrier.added(referencesOfSnapshot(this.#snapshotter, info));
    return info;
  }

  /** The newest first. @param limit default -1, all. */
  #select(condition: SQL | undefined, limit = -1): Promise<SnapshotInfo[]> {
    return this.#relaxed.run(async (queries) =>
      (await queries.select(columns).from(snapshots)
        .leftJoin(parents, eq(parents.id, snapshots.parentId))
        .where(and(eq(snapshots.snapshotter, this.#snapshotter), condition))
        .orderBy(desc(snapshots.id)).limit(limit))
        .map((row) => ({ ...row, parent: row.parent ?? undefined }))
    );
  }

  async #need(key: string, action: string): Promise<SnapshotInfo> {
    const found = await this.get(key);
    if (found !== undefined) return found;
    throw new Failure("not_found", `${action}: snapshotter ${quote(this.#snapshotter)} has no snapshot ${quote(key)}`);
  }
}

function check(action: string, key: string, labels: Labels): void {
  if (key === "") throw new Failure("invalid_argument", `${action}: its key is empty`);
  parse(LabelsSchema, labels, action);
}

function gone(action: string): Failure {
  return new Failure("not_found", `${action}: it was removed or committed meanwhile`);
}

function taken(action: string, key: string): Failure {
  return new Failure("already_exists", `${action}: a snapshot ${quote(key)} is there`);
}

function quote(text: string): string {
  return JSON.stringify(text);
}
