import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { digestOf } from "../../src/core/digest.ts";
import { paged } from "../../src/metadata/paged.ts";
import { temporaryMetadata } from "./open.ts";

describe("paged()", () => {
  for (const count of [0, 1, 100, 101, 250]) {
    it(`reads all of ${count} rows, and gives each once`, async () => {
      const all = Array.from({ length: count }, (_, index) => index);
      const read = (last = -1, limit: number) => Promise.resolve(all.filter((row) => row > last).slice(0, limit));
      assert.deepEqual(await paged<number>(read), all);
    });
  }

  it("reads every list that garbage collection reads, in its order", async () => {
    await using opened = await temporaryMetadata();
    const { metadata } = opened;
    const names = Array.from({ length: 130 }, (_, index) => `n${String(index).padStart(3, "0")}`);
    const digest = await digestOf("x");
    const snapshots = metadata.snapshots("native");
    const lease = await metadata.leases.create("default", new Date(Date.now() + 60_000));
    await metadata.leases.add(lease.id, names);
    await metadata.leases.create("default", new Date());
    await metadata.repositories.putBlobs({ namespace: "default", repository: "app" }, [digest]);
    for (const name of names) {
      const namespace = Number(name.slice(1)) < 70 ? "a" : "b";
      await metadata.images.put({ namespace, name, target: { mediaType: "x", digest, size: 1 } });
      const kind = { image: undefined, runtime: "native", snapshotter: "native", spec: {}, labels: {} };
      await metadata.containers.create({ namespace, id: name, snapshotKey: name, ...kind });
      await snapshots.create(name, "active");
    }
    assert.deepEqual((await metadata.images.all()).map(({ name }) => name), names);
    assert.deepEqual((await metadata.containers.list()).map(({ id }) => id), names);
    assert.deepEqual((await metadata.containers.list("b")).map(({ id }) => id), names.slice(70));
    assert.deepEqual((await snapshots.list()).map(({ key }) => key), names.toReversed());
    const leases = await metadata.leases.list();
    assert.equal(leases.length, 2);
    assert.deepEqual(leases.find(({ id }) => id === lease.id)?.resources, names);
    assert.deepEqual(await metadata.repositories.links(), [digest]);
  });
});
