import { and, asc, count, eq, gt, gte, lt, notLike, type SQL } from "drizzle-orm";
import type { Image, ImageListOptions, ImageStore } from "../core/image.ts";
import type { Database } from "./database.ts";
import { namespaceRow } from "./namespaces.ts";
import { images, namespaces } from "./schema.ts";

/** Names of images. A namespace comes into being with its first image. */
export class LibsqlImageStore implements ImageStore {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  async get(namespace: string, name: string): Promise<Image | undefined> {
    const [row] = await this.#database.run((queries) =>
      queries.select().from(images).where(and(eq(images.namespace, namespace), eq(images.name, name)))
    );
    return row;
  }

  list(namespace: string, options: ImageListOptions = {}): Promise<readonly Image[]> {
    return this.#database.run((queries) =>
      queries.select().from(images).where(meant(namespace, options)).orderBy(asc(images.name)).limit(
        options.limit ?? -1,
      )
    );
  }

  async count(namespace: string, options: Omit<ImageListOptions, "after" | "limit"> = {}): Promise<number> {
    const [row] = await this.#database.run((queries) =>
      queries.select({ count: count() }).from(images).where(meant(namespace, options))
    );
    return row?.count ?? 0;
  }

  all(): Promise<readonly Image[]> {
    return this.#database.run((queries) =>
      queries.select().from(images).orderBy(asc(images.namespace), asc(images.name))
    );
  }

  /** Labels that are not given stay as they are. */
  put(image: Parameters<ImageStore["put"]>[0]): Promise<Image> {
    const { namespace, name, target, labels } = image;
    const now = new Date();
    return this.#database.run(async (queries) => {
      const [, [row]] = await queries.batch([
        queries.insert(namespaces).values(namespaceRow(namespace)).onConflictDoNothing(),
        queries.insert(images)
          .values({ namespace, name, target, labels: labels ?? {}, createdAt: now, updatedAt: now })
          .onConflictDoUpdate({
            target: [images.namespace, images.name],
            set: { target, updatedAt: now, ...(labels === undefined ? {} : { labels }) },
          })
          .returning(),
      ]);
      return row!;
    });
  }

  async delete(namespace: string, name: string): Promise<boolean> {
    const rows = await this.#database.run((queries) =>
      queries.delete(images)
        .where(and(eq(images.namespace, namespace), eq(images.name, name)))
        .returning({ name: images.name })
    );
    return rows.length > 0;
  }
}

function meant(namespace: string, { prefix = "", tagged = false, after = "" }: ImageListOptions): SQL | undefined {
  return and(
    eq(images.namespace, namespace),
    gte(images.name, prefix),
    lt(images.name, `${prefix}\u{10ffff}`),
    gt(images.name, after),
    tagged ? notLike(images.name, "%@%") : undefined,
  );
}
