import { and, asc, eq } from "drizzle-orm";
import type { Container, ContainerStore } from "../core/container.ts";
import { Failure } from "../core/errors.ts";
import type { Database } from "./database.ts";
import { containers } from "./schema.ts";
import { violatedConstraint } from "./sql_failure.ts";

/** Metadata of the containers of this machine. */
export class LibsqlContainerStore implements ContainerStore {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  async get(namespace: string, id: string): Promise<Container | undefined> {
    const [row] = await this.#database.run((queries) =>
      queries.select().from(containers).where(and(eq(containers.namespace, namespace), eq(containers.id, id)))
    );
    return row && toContainer(row);
  }

  list(namespace?: string): Promise<readonly Container[]> {
    return this.#database.run(async (queries) =>
      (await queries.select().from(containers)
        .where(namespace === undefined ? undefined : eq(containers.namespace, namespace))
        .orderBy(asc(containers.namespace), asc(containers.id)))
        .map(toContainer)
    );
  }

  async create(container: Parameters<ContainerStore["create"]>[0]): Promise<Container> {
    try {
      const [row] = await this.#database.run((queries) =>
        queries.insert(containers)
          .values({ ...container, spec: { ...container.spec }, createdAt: new Date() })
          .returning()
      );
      return toContainer(row!);
    } catch (error) {
      if (violatedConstraint(error) !== "unique") throw error;
      const { namespace, id } = container;
      throw new Failure(
        "already_exists",
        `cannot create container ${JSON.stringify(id)}: namespace ${JSON.stringify(namespace)} has one of this id`,
      );
    }
  }

  async delete(namespace: string, id: string): Promise<boolean> {
    const rows = await this.#database.run((queries) =>
      queries.delete(containers)
        .where(and(eq(containers.namespace, namespace), eq(containers.id, id)))
        .returning({ id: containers.id })
    );
    return rows.length > 0;
  }
}

function toContainer(row: typeof containers.$inferSelect): Container {
  return { ...row, image: row.image ?? undefined, snapshotKey: row.snapshotKey ?? undefined };
}
