import { and, asc, eq, getTableColumns, or, sql } from "drizzle-orm";
import type { Container, ContainerChanges, ContainerStore, ListedContainer, NewContainer } from "../core/container.ts";
import { Failure } from "../core/errors.ts";
import type { WriteBarrier } from "../core/write_barrier.ts";
import type { Database } from "./database.ts";
import { paged } from "./paged.ts";
import { referencesOfContainer } from "./references.ts";
import { containers } from "./schema.ts";
import { violatedConstraint } from "./sql_failure.ts";

/** Metadata of the containers of this machine. */
export class LibsqlContainerStore implements ContainerStore {
  readonly #database: Database;
  readonly #barrier: WriteBarrier;

  constructor(database: Database, barrier: WriteBarrier) {
    this.#database = database;
    this.#barrier = barrier;
  }

  async get(namespace: string, id: string): Promise<Container | undefined> {
    const [row] = await this.#database.run((queries) => queries.select().from(containers).where(named(namespace, id)));
    return row && toContainer(row);
  }

  async find(namespace: string, reference: string): Promise<readonly Container[]> {
    const rows = await this.#database.run((queries) =>
      queries.select().from(containers)
        .where(and(
          eq(containers.namespace, namespace),
          or(
            eq(containers.name, reference),
            sql`substr(${containers.id}, 1, ${reference.length}) = ${reference}`,
          ),
        ))
        .limit(100)
    );
    const found = rows.map(toContainer);
    const exact = found.filter(({ id }) => id === reference);
    if (exact.length > 0) return exact;
    const byName = found.filter(({ name }) => name === reference);
    return byName.length > 0 ? byName : found;
  }

  list(namespace?: string): Promise<readonly ListedContainer[]> {
    return paged<ListedContainer>((last, limit) =>
      this.#database.run(async (queries) =>
        (await queries.select(listed).from(containers)
          .where(and(
            namespace === undefined ? undefined : eq(containers.namespace, namespace),
            last && sql`(${containers.namespace}, ${containers.id}) > (${last.namespace}, ${last.id})`,
          ))
          .orderBy(asc(containers.namespace), asc(containers.id)).limit(limit))
          .map(toContainer)
      )
    );
  }

  async create(container: NewContainer): Promise<Container> {
    try {
      const [row] = await this.#database.run((queries) =>
        queries.insert(containers)
          .values({ ...container, spec: { ...container.spec }, createdAt: new Date() })
          .returning()
      );
      const created = toContainer(row!);
      await this.#barrier.added(referencesOfContainer(created));
      return created;
    } catch (error) {
      if (violatedConstraint(error) !== "unique") throw error;
      const { namespace, id, name } = container;
      const taken = await this.get(namespace, id) === undefined ? `this name (${JSON.stringify(name)})` : "this id";
      throw new Failure(
        "already_exists",
        `cannot create container ${JSON.stringify(name ?? id)}: namespace ${
          JSON.stringify(namespace)
        } has one of ${taken}`,
      );
    }
  }

  async update(namespace: string, id: string, { spec, ...changes }: ContainerChanges): Promise<Container> {
    const [row] = await this.#database.run((queries) =>
      queries.update(containers)
        .set({ ...changes, ...(spec && { spec: { ...spec } }) })
        .where(named(namespace, id))
        .returning()
    );
    if (row !== undefined) {
      const updated = toContainer(row);
      await this.#barrier.added(referencesOfContainer(updated));
      return updated;
    }
    throw new Failure("not_found", `cannot update container ${JSON.stringify(id)}: there is none of this id`);
  }

  async delete(namespace: string, id: string): Promise<boolean> {
    const rows = await this.#database.run((queries) =>
      queries.delete(containers).where(named(namespace, id)).returning({ id: containers.id })
    );
    return rows.length > 0;
  }
}

function named(namespace: string, id: string) {
  return and(eq(containers.namespace, namespace), eq(containers.id, id));
}

const { spec: _spec, ...listed } = getTableColumns(containers);

function toContainer<Row extends Omit<typeof containers.$inferSelect, "spec">>(row: Row) {
  return {
    ...row,
    image: row.image ?? undefined,
    snapshotKey: row.snapshotKey ?? undefined,
    name: row.name ?? undefined,
    imageDigest: row.imageDigest ?? undefined,
    settings: row.settings ?? undefined,
    state: row.state ?? undefined,
  };
}
