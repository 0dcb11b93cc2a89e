import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { describe, it } from "node:test";
import { createClient } from "@libsql/client/sqlite3";
import { sql } from "drizzle-orm";
import { silent } from "../../src/core/logger.ts";
import type { Invocation } from "../../src/core/invocation.ts";
import { Database } from "../../src/metadata/database.ts";
import { openMetadata } from "../../src/metadata/metadata.ts";
import { temporaryMetadata, temporaryRoot } from "./open.ts";

const invocation = (n: number, part: Partial<Invocation> = {}): Invocation => ({
  id: `id-${String(n).padStart(6, "0")}`,
  namespace: "default",
  function: n % 2 === 0 ? "even" : "odd",
  revision: 1,
  status: "succeeded",
  startedAt: new Date(1_700_000_000_000 + n),
  durationMs: 12.5,
  exitCode: 0,
  error: undefined,
  stderr: "",
  cpuMicros: 1000,
  memoryPeakBytes: undefined,
  requestBytes: 3,
  responseBytes: 4,
  traceId: undefined,
  phases: [{ name: "start", startMs: 0.5, durationMs: 1.25 }],
  ...part,
});

describe("InvocationStore", () => {
  it("shows a record at once, waiting or written", async () => {
    await using opened = await temporaryMetadata();
    const { invocations } = opened.metadata;
    const running = invocation(1, { status: "running", durationMs: undefined, exitCode: undefined });
    invocations.put(running);
    assert.equal(await invocations.get("default", running.id), running);
    assert.deepEqual(await invocations.list("default"), [running]);
    await invocations.flush();
    assert.deepEqual(await invocations.get("default", running.id), running);
    const ended = invocation(1);
    invocations.put(ended);
    assert.deepEqual(await invocations.list("default"), [ended]);
    await invocations.flush();
    assert.deepEqual(await invocations.list("default"), [ended]);
    assert.equal(await invocations.get("other", ended.id), undefined);
  });

  it("put() stores text as it is, and what is no Unicode as near as it can be", async () => {
    await using opened = await temporaryMetadata();
    const { invocations } = opened.metadata;
    const stderr = 'a\n"\\\u2028€😀';
    invocations.put({ ...invocation(1), stderr, error: "cut \ud83d", durationMs: 3, phases: [] });
    await invocations.flush();
    const read = await invocations.get("default", invocation(1).id);
    assert.deepEqual([read?.stderr, read?.error, read?.durationMs, read?.phases], [stderr, "cut \ufffd", 3, []]);
  });

  it("list() has the newest first, of one function, over written and waiting ones", async () => {
    await using opened = await temporaryMetadata();
    const { invocations } = opened.metadata;
    for (let n = 0; n < 6; n++) invocations.put(invocation(n));
    await invocations.flush();
    for (let n = 6; n < 9; n++) invocations.put(invocation(n));
    const numbers = async (options: Parameters<typeof invocations.list>[1]) =>
      (await invocations.list("default", options)).map(({ id }) => Number(id.slice(3)));
    assert.deepEqual(await numbers({ limit: 4 }), [8, 7, 6, 5]);
    assert.deepEqual(await numbers({ function: "even", limit: 3 }), [8, 6, 4]);
    assert.deepEqual(await invocations.list("other"), []);
  });

  it("prune() keeps the newest", async () => {
    await using opened = await temporaryMetadata();
    const { invocations } = opened.metadata;
    for (let n = 0; n < 350; n++) invocations.put(invocation(n));
    assert.equal(await invocations.prune(20), 330);
    const left = await invocations.list("default");
    assert.deepEqual([left.length, left.at(-1)?.id], [20, "id-000330"]);
    assert.equal(await invocations.prune(20), 0);
  });

  it("is written when the metadata is closed", async () => {
    using root = temporaryRoot();
    const first = await openMetadata({ root: root.path });
    for (let n = 0; n < 250; n++) first.invocations.put(invocation(n));
    await first.close();
    await using second = await openMetadata({ root: root.path });
    assert.equal((await second.invocations.list("default", { limit: 1000 })).length, 250);
  });
});

describe("openMetadata()", () => {
  it("gives root and database one id, for its owner's eyes alone", async () => {
    using root = temporaryRoot();
    for (let n = 0; n < 2; n++) {
      await using metadata = await openMetadata({ root: root.path });
      assert.equal(metadata.conflict, undefined);
      assert.equal(readFileSync(join(root.path, "id"), "utf8").trim(), metadata.rootId);
      for (const name of ["mayfly.db", "mayfly.db-wal"]) assert.equal(statSync(join(root.path, name)).mode & 0o77, 0);
    }
  });

  it("tells of a database that is lost, or another root's, until its id is written", async () => {
    using root = temporaryRoot();
    const file = join(root.path, "id");
    await (await openMetadata({ root: root.path })).close();
    for (const name of ["mayfly.db", "mayfly.db-wal", "mayfly.db-shm"]) rmSync(join(root.path, name), { force: true });
    {
      await using metadata = await openMetadata({ root: root.path });
      assert.match(metadata.conflict ?? "", /put back the database/);
      writeFileSync(file, `${metadata.rootId}\n`);
    }
    await using metadata = await openMetadata({ root: root.path });
    assert.equal(metadata.conflict, undefined);
  });

  it("tells of a new database over content that is there already", async () => {
    using root = temporaryRoot();
    const folder = join(root.path, "content", "blobs", "sha256");
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, "0".repeat(64)), "");
    for (let n = 0; n < 2; n++) {
      await using metadata = await openMetadata({ root: root.path });
      assert.match(metadata.conflict ?? "", /there is no such file/);
    }
  });

  it("takes a folder that it cannot read for no empty one", async () => {
    using root = temporaryRoot();
    writeFileSync(join(root.path, "content"), "no folder");
    await assert.rejects(openMetadata({ root: root.path }), { code: "failed_precondition", message: /content/ });
    assert.ok(!existsSync(join(root.path, "id")));
  });

  it("refuses a file that is no database, with the cure", async () => {
    using root = temporaryRoot();
    writeFileSync(join(root.path, "mayfly.db"), "this is no database".repeat(500));
    await assert.rejects(openMetadata({ root: root.path }), {
      code: "data_loss",
      message: /put a backup in its place/,
    });
  });

  it("refuses a damaged file, with the cure", async () => {
    using root = temporaryRoot();
    const first = await openMetadata({ root: root.path });
    for (let n = 0; n < 300; n++) first.invocations.put(invocation(n));
    await first.close();
    const path = join(root.path, "mayfly.db");
    const bytes = readFileSync(path);
    bytes.fill(0xff, 4096);
    writeFileSync(path, bytes);
    await assert.rejects(openMetadata({ root: root.path }), {
      code: "data_loss",
      message: /put a backup in its place/,
    });
  });

  it("refuses a file that another holds, as unavailable", async () => {
    using root = temporaryRoot();
    await (await openMetadata({ root: root.path })).close();
    const other = createClient({ url: `file:${root.path}/mayfly.db` });
    using transaction = Object.assign(await other.transaction("write"), {
      [Symbol.dispose]() {
        transaction.close();
        other.close();
      },
    });
    await transaction.execute("INSERT INTO meta VALUES ('a', 'b')");
    await assert.rejects(openMetadata({ root: root.path }), { code: "unavailable", message: /another process holds/ });
  });

  it("keeps its lock on the file, so that no other program takes itself for the last to close it", async () => {
    await using opened = await temporaryMetadata();
    const { ino } = statSync(join(opened.root, "mayfly.db"));
    const locks = readFileSync("/proc/locks", "utf8").split("\n");
    assert.ok(
      locks.some((line) => line.includes(` ${process.pid} `) && line.includes(`:${ino} `)),
      "no lock of this process",
    );
  });

  it("opens without the database of definitions, and uses it once it answers", async () => {
    using root = temporaryRoot();
    const url = `file:${join(root.path, "definitions.db")}`;
    const other = createClient({ url });
    await other.execute("PRAGMA locking_mode = EXCLUSIVE");
    await other.execute("CREATE TABLE theirs (value text)");
    const said: string[] = [];
    const log = { ...silent, error: (text: string) => void said.push(text) };
    await using metadata = await openMetadata({ root: root.path, url, log });
    assert.match(said.join(), /database of definitions is away.*until it answers/);
    await assert.rejects(metadata.images.list("default"), { code: "unavailable" });
    await other.execute("PRAGMA locking_mode = NORMAL");
    await other.execute("SELECT * FROM theirs");
    other.close();
    assert.deepEqual(await metadata.images.list("default"), []);
    assert.deepEqual((await metadata.namespaces.list()).map(({ name }) => name), ["default"]);
    assert.equal(said.length, 1);
  });

  it("refuses a folder that is not there, and opens without a URL that nobody answers", async () => {
    await assert.rejects(openMetadata({ root: "/nowhere/at/all" }), { code: "failed_precondition" });
    using root = temporaryRoot();
    const said: string[] = [];
    const log = { ...silent, error: (text: string) => void said.push(text) };
    await using metadata = await openMetadata({ root: root.path, url: "http://127.0.0.1:1", log });
    assert.match(said.join(), /database of definitions is away.*until it answers/);
    await assert.rejects(metadata.images.list("default"), { code: "unavailable" });
    await metadata.leases.create("default", new Date(), {});
    await assert.rejects(openMetadata({ root: root.path, url: "gopher://x" }), { code: "invalid_argument" });
  });

  it("refuses a row that another program wrote in another shape", async () => {
    await using opened = await temporaryMetadata();
    await using database = await Database.file(join(opened.root, "mayfly.db"), "FULL");
    for (const target of ["{}", "no JSON"]) {
      await database.run((queries) =>
        queries.run(sql`INSERT OR REPLACE INTO images VALUES ('default', 'x', ${target}, '{}', 0, 0)`)
      );
      await assert.rejects(opened.metadata.images.get("default", "x"), {
        code: "data_loss",
        message: /column "target"/,
      });
    }
  });
});
