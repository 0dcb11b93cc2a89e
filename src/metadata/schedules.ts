import { and, eq, notInArray } from "drizzle-orm";
import type { ScheduleStore } from "../core/schedule.ts";
import type { Database } from "./database.ts";
import { scheduleMarks } from "./schema.ts";

/** Marks of this machine's clock. One that is lost with the power has its run made up for once more. */
export class LibsqlScheduleStore implements ScheduleStore {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  async marks(namespace: string, name: string): Promise<ReadonlyMap<string, Date>> {
    const rows = await this.#database.run((queries) =>
      queries.select({ key: scheduleMarks.key, at: scheduleMarks.at }).from(scheduleMarks).where(of(namespace, name))
    );
    return new Map(rows.map(({ key, at }) => [key, at]));
  }

  async mark(namespace: string, name: string, key: string, at: Date): Promise<void> {
    await this.#database.run((queries) =>
      queries.insert(scheduleMarks).values({ namespace, function: name, key, at }).onConflictDoUpdate({
        target: [scheduleMarks.namespace, scheduleMarks.function, scheduleMarks.key],
        set: { at },
      })
    );
  }

  async keep(namespace: string, name: string, keys: readonly string[]): Promise<void> {
    await this.#database.run((queries) =>
      queries.delete(scheduleMarks).where(and(of(namespace, name), notInArray(scheduleMarks.key, [...keys])))
    );
  }
}

function of(namespace: string, name: string) {
  return and(eq(scheduleMarks.namespace, namespace), eq(scheduleMarks.function, name));
}
