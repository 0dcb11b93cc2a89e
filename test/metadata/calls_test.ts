import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, beforeEach, describe, it } from "node:test";
import { openMetadata } from "../../src/metadata/mod.ts";
import type { LibsqlMetadata } from "../../src/metadata/metadata.ts";

const request = {
  method: "POST",
  scriptName: "/fn/f",
  path: "",
  query: "",
  headers: [["x-name", "Ada"]],
} satisfies Parameters<LibsqlMetadata["calls"]["add"]>[0][number]["request"];

describe("the queue of calls", () => {
  const folder = mkdtempSync(join(tmpdir(), "mayfly-calls-"));
  let metadata: LibsqlMetadata;
  let count = 0;

  before(async () => metadata = await openMetadata({ root: folder }));
  after(async () => {
    await metadata.close();
    rmSync(folder, { recursive: true, force: true });
  });
  let namespace: string;
  beforeEach(() => namespace = `n${count++}`);

  const add = async (id: string, name = "f", body?: Uint8Array<ArrayBuffer>) => {
    const call = { id: `${namespace}-${id}`, namespace, function: name, request, body, callback: undefined };
    await metadata.calls.add([call]);
    return `${namespace}-${id}`;
  };
  const due = async (name = "f") =>
    (await metadata.calls.due(namespace, name, new Date(), 10)).map(({ id }) => id.split("-")[1]);

  it("gives those of a function that are due, the oldest first, each to one alone", async () => {
    const bytes = Uint8Array.of(0, 1, 255);
    const [a] = [await add("a", "f", bytes), await add("b"), await add("c", "g")];
    assert.deepEqual(await due(), ["a", "b"]);
    assert.deepEqual(await metadata.calls.begin(a, new Date()), { request, body: bytes });
    assert.equal(await metadata.calls.begin(a, new Date()), undefined);
    assert.deepEqual(await due(), ["b"]);
    assert.deepEqual(
      (await metadata.calls.waiting()).filter((line) => line.namespace === namespace),
      [{ namespace, function: "f", count: 1 }, { namespace, function: "g", count: 1 }],
    );
  });

  it("keeps the answer, and lets go of what was asked", async () => {
    const id = await add("a", "f", Uint8Array.of(1));
    await metadata.calls.begin(id, new Date());
    assert.equal(await metadata.calls.answer(id), undefined);
    const answer = { contentType: "text/plain", body: Uint8Array.of(7, 0) };
    await metadata.calls.finish(id, { status: "succeeded", invocation: "i", answer });
    assert.deepEqual(await metadata.calls.answer(id), answer);
    const call = await metadata.calls.get(id, namespace);
    assert.deepEqual([call?.status, call?.attempts, call?.invocation], ["succeeded", 1, "i"]);
    assert.equal(await metadata.calls.get(id, "other"), undefined);
  });

  it("has later what is tried again, and counts attempts alone", async () => {
    const id = await add("a");
    const dueAt = new Date(Date.now() + 60_000);
    for (const [counts, attempts] of [[true, 1], [false, 1]] as const) {
      await metadata.calls.begin(id, new Date());
      await metadata.calls.finish(id, { status: "queued", error: "no room", dueAt, counts });
      assert.equal((await metadata.calls.get(id))?.attempts, attempts);
      assert.deepEqual(await due(), []);
    }
    assert.deepEqual(await metadata.calls.nextDue(namespace, "f"), dueAt);
  });

  it("queues again what a crash has interrupted, and what is replayed", async () => {
    // Of every namespace, what other tests are at too.
    await metadata.calls.recover();
    const [a, b] = [await add("a"), await add("b")];
    for (const id of [a, b]) await metadata.calls.begin(id, new Date());
    await metadata.calls.finish(b, { status: "failed", error: "broken" });
    assert.equal(await metadata.calls.recover(), 1);
    assert.deepEqual(await due(), ["a"]);
    assert.equal(await metadata.calls.replay(namespace, a), false);
    assert.equal(await metadata.calls.replay("other", b), false);
    assert.equal(await metadata.calls.replay(namespace, b), true);
    assert.equal((await metadata.calls.get(b))?.attempts, 0);
  });

  it("goes with its namespace, and forgets the oldest that have ended", async () => {
    await metadata.namespaces.ensure(namespace);
    const ids = [await add("a"), await add("b"), await add("c")];
    for (const id of ids.slice(0, 2)) {
      await metadata.calls.begin(id, new Date());
      await metadata.calls.finish(id, { status: "failed", error: "broken" });
    }
    await metadata.calls.prune(0);
    assert.deepEqual((await metadata.calls.list(namespace, { limit: 10 })).map(({ id }) => id), [ids[2]]);
    await metadata.namespaces.delete(namespace);
    assert.deepEqual(await metadata.calls.list(namespace, { limit: 10 }), []);
  });
});
