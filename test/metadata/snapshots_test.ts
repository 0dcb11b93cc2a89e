import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { temporaryMetadata } from "./open.ts";

describe("SnapshotStore", () => {
  it("create() records kind, parent and a number that is never used again", async () => {
    await using opened = await temporaryMetadata();
    const store = opened.metadata.snapshots("overlay");
    const base = await store.create("a", "active");
    assert.equal(base.parent, undefined);
    assert.ok(base.createdAt instanceof Date);
    await store.commit("base", "a");
    const view = await store.create("v", "view", { parent: "base" });
    assert.equal(view.parent, "base");
    assert.deepEqual(await store.get("v"), view);
    await store.remove("v");
    assert.ok((await store.create("w", "view", { parent: "base" })).id > view.id);
  });

  it("create() refuses a second use of a key, a missing parent and one that is not committed", async () => {
    await using opened = await temporaryMetadata();
    const store = opened.metadata.snapshots("overlay");
    await store.create("a", "active");
    await assert.rejects(store.create("a", "view"), { code: "already_exists" });
    await assert.rejects(store.create("b", "view", { parent: "nothing" }), { code: "not_found" });
    await assert.rejects(store.create("b", "view", { parent: "a" }), { code: "failed_precondition" });
    assert.equal((await store.list()).length, 1);
  });

  it("commit() moves an active snapshot to its name, once", async () => {
    await using opened = await temporaryMetadata();
    const store = opened.metadata.snapshots("overlay");
    const { id } = await store.create("a", "active");
    const committed = await store.commit("base", "a");
    assert.deepEqual([committed.key, committed.kind, committed.id], ["base", "committed", id]);
    assert.equal(await store.get("a"), undefined);
    await assert.rejects(store.commit("base", "a"), { code: "not_found" });
    await assert.rejects(store.commit("other", "base"), { code: "failed_precondition" });
    await store.create("a", "active");
    await assert.rejects(store.commit("base", "a"), { code: "already_exists" });
    assert.equal((await store.get("a"))?.kind, "active");
    const child = await store.create("child", "active", { parent: "base" });
    const above = await store.commit("above", "child", { labels: { by: "test" } });
    assert.deepEqual([above.id, above.parent, above.labels], [child.id, "base", { by: "test" }]);
    assert.deepEqual(await store.get("above"), above);
  });

  it("remove() refuses while children exist", async () => {
    await using opened = await temporaryMetadata();
    const store = opened.metadata.snapshots("overlay");
    await store.create("a", "active");
    await store.commit("base", "a");
    await store.create("child", "active", { parent: "base" });
    await assert.rejects(store.remove("base"), { code: "failed_precondition" });
    assert.equal((await store.remove("child")).parent, "base");
    assert.equal((await store.remove("base")).key, "base");
    await assert.rejects(store.remove("base"), { code: "not_found" });
  });

  it("parents() goes from the nearest to the lowest", async () => {
    await using opened = await temporaryMetadata();
    const store = opened.metadata.snapshots("overlay");
    let parent: string | undefined;
    for (const layer of ["1", "2", "3"]) {
      await store.create("work", "active", { parent });
      parent = (await store.commit(layer, "work")).key;
    }
    await store.create("top", "view", { parent: "3" });
    assert.deepEqual((await store.parents("top")).map(({ key }) => key), ["3", "2", "1"]);
    assert.deepEqual(await store.parents("1"), []);
    await assert.rejects(store.parents("nothing"), { code: "not_found" });
  });

  it("keeps the rows of each snapshotter apart", async () => {
    await using opened = await temporaryMetadata();
    const overlay = opened.metadata.snapshots("overlay");
    await overlay.create("a", "active");
    await overlay.commit("base", "a");
    const native = opened.metadata.snapshots("native");
    await native.create("base", "active");
    await assert.rejects(native.create("b", "view", { parent: "nothing" }), { code: "not_found" });
    assert.deepEqual((await native.list()).map(({ key }) => key), ["base"]);
  });
});
