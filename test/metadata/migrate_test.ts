import assert from "node:assert/strict";
import { existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { getTableName, is, sql } from "drizzle-orm";
import { getTableConfig, SQLiteTable } from "drizzle-orm/sqlite-core";
import { allToLatest } from "../../src/core/revision.ts";
import { WriteBarrier } from "../../src/core/write_barrier.ts";
import { Database } from "../../src/metadata/database.ts";
import { LibsqlFunctionStore } from "../../src/metadata/functions.ts";
import { migrate, schemaVersion } from "../../src/metadata/migrate.ts";
import { fromMessage } from "../../src/functions/call_message.ts";
import { openQueue } from "../../src/metadata/queue.ts";
import { migrations } from "../../src/metadata/migrations.ts";
import * as schema from "../../src/metadata/schema.ts";
import { temporaryRoot } from "./open.ts";

async function openFile() {
  const root = temporaryRoot();
  const path = join(root.path, "mayfly.db");
  const database = await Database.file(path, "FULL");
  return {
    database,
    path,
    rows: <T>(query: string) => database.run((queries) => queries.all<T>(sql.raw(query))),
    async [Symbol.asyncDispose]() {
      await database[Symbol.asyncDispose]();
      root[Symbol.dispose]();
    },
  };
}

/** A version after this program's. */
const next = ["CREATE TABLE later (id text PRIMARY KEY NOT NULL)"];

describe("migrate()", () => {
  it("makes the tables that the schema declares", async () => {
    await using opened = await openFile();
    const { database, rows } = opened;
    await migrate(database);
    const declared = Object.values(schema).filter((value) => is(value, SQLiteTable));
    const tables = await rows<{ name: string }>(
      "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
    );
    assert.deepEqual(tables.map(({ name }) => name).sort(), declared.map(getTableName).sort());

    for (const table of declared) {
      const { name, columns, primaryKeys, foreignKeys, indexes, uniqueConstraints } = getTableConfig(table);
      const composite = primaryKeys.flatMap((key) => key.columns.map((column) => column.name));
      const found = await rows<{ name: string; type: string; notnull: number; pk: number }>(
        `PRAGMA table_info(${name})`,
      );
      assert.deepEqual(
        found.map((column) => ({
          name: column.name,
          type: column.type.toLowerCase(),
          notNull: column.notnull === 1,
          key: column.pk > 0,
        })),
        columns.map((column) => ({
          name: column.name,
          type: column.getSQLType(),
          notNull: column.notNull,
          key: column.primary || composite.includes(column.name),
        })),
        `columns of ${name}`,
      );
      const keys = await rows<{ table: string; from: string; to: string; on_delete: string }>(
        `PRAGMA foreign_key_list(${name})`,
      );
      assert.deepEqual(
        keys.map((key) => [key.from, key.table, key.to, key.on_delete.toLowerCase()]),
        foreignKeys.map((key) => {
          const { columns, foreignColumns } = key.reference();
          const [from, to] = [columns[0]!, foreignColumns[0]!];
          return [from.name, getTableName(to.table), to.name, key.onDelete ?? "no action"];
        }),
        `foreign keys of ${name}`,
      );
      const made = await rows<{ name: string; origin: string }>(`PRAGMA index_list(${name})`);
      const indexed = await Promise.all(
        made.filter(({ origin }) => origin !== "pk").map(async (index) =>
          (await rows<{ name: string }>(`PRAGMA index_info(${index.name})`)).map((column) => column.name).join()
        ),
      );
      const wanted = [
        ...indexes.map(({ config }) => config.columns.map((column) => "name" in column ? column.name : "?").join()),
        ...uniqueConstraints.map((constraint) => constraint.columns.map((column) => column.name).join()),
      ];
      assert.deepEqual(indexed.sort(), wanted.sort(), `indexes of ${name}`);
    }
  });

  it("leaves a copy of what was there, and of a new database none", async () => {
    await using opened = await openFile();
    const { database, path, rows } = opened;
    assert.equal(await migrate(database, { backupOf: path }), 0);
    assert.equal(readdirSync(join(path, "..")).some((name) => name.includes("before")), false);
    await rows("INSERT INTO namespaces VALUES ('kept', '{}', 0) RETURNING name");

    const version = migrations.length + 1;
    assert.equal(await migrate(database, { backupOf: path, steps: [...migrations, next] }), migrations.length);
    assert.equal(await schemaVersion(database), version);
    await using copy = await Database.file(`${path}.before-${version}`, "FULL");
    assert.equal(await schemaVersion(copy), migrations.length);
    assert.deepEqual(await copy.run((queries) => queries.all(sql`SELECT name FROM namespaces`)), [{ name: "kept" }]);
    assert.equal(statSync(`${path}.before-${version}`).mode & 0o777, 0o600);
  });

  it("makes messages of the calls that wait", async () => {
    await using opened = await openFile();
    const { database, rows, path } = opened;
    // The last version without a queue of its own.
    await migrate(database, { steps: migrations.slice(0, 13) });
    const request = { method: "POST", scriptName: "/fn/f", path: "", query: "a=\u{e4}", headers: [["x-a", '"b"']] };
    const call = (id: string, status: string, body: string, callback: string) =>
      rows(
        `INSERT INTO calls (id, namespace, function, status, attempts, created_at, due_at, request, body, callback_url)
          VALUES ('${id}', 'default', 'f', '${status}', 1, 5, ${id.length}, '${JSON.stringify(request)}', ${body},
            ${callback}) RETURNING id`,
      );
    await call("aa", "running", "x'000aff0a'", "'http://example.com/'");
    await call("a", "queued", "NULL", "NULL");
    await call("b", "failed", "x'01'", "NULL");
    await migrate(database);
    await using queue = await openQueue(join(path, ".."));
    const { deliveries } = await queue.pull({ namespace: "default", name: "f" }, 10);
    const common = { namespace: "default", function: "f", createdAt: new Date(5), request };
    assert.deepEqual(deliveries.map(fromMessage), [
      { ...common, id: "a", callback: undefined, body: undefined },
      { ...common, id: "aa", callback: "http://example.com/", body: Uint8Array.of(0, 10, 255, 10) },
    ]);
    assert.deepEqual(deliveries.map(({ id }) => id), ["a.5", "aa.5"]);
  });

  it("makes a function that is there its newest revision, by the number that it has", async () => {
    await using opened = await openFile();
    const { database, rows } = opened;
    // The last version without revisions.
    await migrate(database, { steps: migrations.slice(0, 8) });
    await rows("INSERT INTO namespaces VALUES ('default', '{}', 0) RETURNING name");
    const settings = JSON.stringify({ image: "busybox" });
    await rows(`INSERT INTO functions VALUES ('default', 'f', 'sha256:1', 7, '${settings}', 1, 2) RETURNING name`);
    await migrate(database);
    const functions = new LibsqlFunctionStore(database, new WriteBarrier());
    const [record] = await Array.fromAsync(functions.all());
    assert.deepEqual([record?.revision, record?.digest, record?.image], [7, "sha256:1", "busybox"]);
    assert.deepEqual(record?.traffic, allToLatest);
    assert.deepEqual([record?.createdAt, record?.updatedAt], [new Date(1), new Date(2)]);
    const [revision, ...others] = await functions.revisions("default", "f");
    assert.deepEqual([revision?.revision, revision?.createdAt, others.length], [7, new Date(2), 0]);
  });

  it("applies a version whole or not at all", async () => {
    await using opened = await openFile();
    const { database, rows } = opened;
    const broken = [next[0]!, "CREATE TABLE later (id text)"];
    await assert.rejects(migrate(database, { steps: [...migrations, broken] }), {
      code: "failed_precondition",
      message: /nothing of this version was applied/,
    });
    assert.equal(await schemaVersion(database), migrations.length);
    assert.deepEqual(await rows("SELECT name FROM sqlite_master WHERE name = 'later'"), []);
    await migrate(database, { steps: [...migrations, next] });
  });

  it("refuses a schema that is newer, naming both versions", async () => {
    await using opened = await openFile();
    const { database, path } = opened;
    await migrate(database, { steps: [...migrations, next] });
    const known = migrations.length;
    await assert.rejects(migrate(database, { backupOf: path }), {
      code: "failed_precondition",
      message: new RegExp(`version ${known + 1}, this program knows ${known}`),
    });
    assert.equal(existsSync(`${path}.before-${known}`), false);
  });
});
