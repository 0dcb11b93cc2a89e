import { readFileSync } from "node:fs";
import { eq } from "drizzle-orm";
import { Failure } from "../core/errors.ts";
import { type IdRange, idRangeSize, type IdRangeStore } from "../core/id_range.ts";
import { parseSubordinateIds } from "../core/subordinate_ids.ts";
import type { Database } from "./database.ts";
import { idRanges } from "./schema.ts";

export interface IdRangeOptions {
  /** The first id of the region that ranges are taken from. */
  readonly first: number;
  /** How many ranges there are. */
  readonly count: number;
}

/** Within what systemd leaves to containers, and above what subuid(5) gives to users. @see https://systemd.io/UIDS-GIDS/ */
export const defaultIdRanges: IdRangeOptions = { first: 0x4000_0000, count: 8192 };

/** Two that take at the same time may meet as often. */
const attempts = 100;

/** Ranges in the local file: they are of this machine's ids. */
export class LibsqlIdRangeStore implements IdRangeStore {
  readonly #local: Database;
  readonly #options: IdRangeOptions;
  /** Where the next range is looked for: one that has just become free is the last to be taken again. */
  #next = 0;

  constructor(local: Database, options: IdRangeOptions) {
    this.#local = local;
    this.#options = options;
  }

  async take(namespace: string): Promise<IdRange> {
    for (let attempt = 0; attempt < attempts; attempt++) {
      const [mine] = await this.#local.run((queries) =>
        queries.select().from(idRanges).where(eq(idRanges.namespace, namespace))
      );
      if (mine !== undefined) return { first: mine.first, size: idRangeSize };
      const first = await this.#free(namespace);
      // Both columns are unique: who comes second looks again.
      await this.#local.run((queries) => queries.insert(idRanges).values({ namespace, first }).onConflictDoNothing());
    }
    throw new Failure("aborted", `cannot take a range of ids for namespace ${JSON.stringify(namespace)}: try again`);
  }

  async #free(namespace: string): Promise<number> {
    const { first, count } = this.#options;
    const taken = new Set(
      (await this.#local.run((queries) => queries.select().from(idRanges))).map((row) => row.first),
    );
    const given = [...subordinate("/etc/subuid"), ...subordinate("/etc/subgid")];
    for (let i = 0; i < count; i++) {
      const at = (this.#next + i) % count;
      const candidate = first + at * idRangeSize;
      if (taken.has(candidate)) continue;
      if (given.some((other) => other.first < candidate + idRangeSize && candidate < other.first + other.size)) {
        continue;
      }
      this.#next = at + 1;
      return candidate;
    }
    throw new Failure(
      "resource_exhausted",
      `cannot take a range of ids for namespace ${
        JSON.stringify(namespace)
      }: all ${count} from ${first} on are in use: ` +
        `delete a namespace, or configure more ("metadata/libsql": {"idRanges": …})`,
    );
  }
}

/** What somebody else may use as ids of containers. */
function subordinate(path: string): readonly IdRange[] {
  try {
    return parseSubordinateIds(readFileSync(path, "utf8"));
  } catch {
    // Most machines have none.
    return [];
  }
}
