import { and, asc, count, eq, gt, gte, lt, notLike, type SQL, sql } from "drizzle-orm";
import type { Image, ImageListOptions, ImageStore } from "../core/image.ts";
import type { WriteBarrier } from "../core/write_barrier.ts";
import type { Database } from "./database.ts";
import { namespaceRow } from "./namespaces.ts";
import { paged } from "./paged.ts";
import { referencesOfImage } from "./references.ts";
import { images, namespaces } from "./schema.ts";

/** Names of images. A namespace comes into being with its first image. */
export class LibsqlImageStore implements ImageStore {
  readonly #database: Database;
  readonly #barrier: WriteBarrier;

  constructor(database: Database, barrier: WriteBarrier) {
    this.#database = database;
    this.#barrier = barrier;
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
    return paged<Image>((last, limit) =>
      this.#database.run((queries) =>
        queries.select().from(images)
          .where(last && sql`(${images.namespace}, ${images.name}) > (${last.namespace}, ${last.name})`)
          .orderBy(asc(images.namespace), asc(images.name)).limit(limit)
      )
    );
  }

  /** Labels that are not given stay as they are. */
  async put(image: Parameters<ImageStore["put"]>[0]): Promise<Image> {
    const { namespace, name, target, labels } = image;
    const now = new Date();
    const put = await this.#database.run(async (queries) => {
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
    await this.#barrier.added(referencesOfImage(put));
    return put;
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
