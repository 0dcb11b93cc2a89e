import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import * as v from "valibot";
import type { ContentInfo, ContentStore } from "../../src/core/content.ts";
import { mediaTypes } from "../../src/core/descriptor.ts";
import { digestOf } from "../../src/core/digest.ts";
import { FunctionInputSchema } from "../../src/core/function.ts";
import { allToLatest } from "../../src/core/revision.ts";
import { Hold } from "../../src/images/hold.ts";
import { makeImage, openCollectable, store } from "./collectable.ts";

const descriptor = { mediaType: mediaTypes.manifest, size: 1 };

/** A content store of which some methods are others. */
function watched(content: ContentStore, others: Partial<ContentStore>): ContentStore {
  return {
    info: (digest) => content.info(digest),
    read: (digest, range) => content.read(digest, range),
    bytes: (digest, limit) => content.bytes(digest, limit),
    writer: (ref, expected) => content.writer(ref, expected),
    list: () => content.list(),
    ingests: () => content.ingests(),
    abort: (ref) => content.abort(ref),
    delete: (digest) => content.delete(digest),
    ...others,
  };
}

describe("collectGarbage()", () => {
  it("goes on beside an operation, and takes nothing of it", async () => {
    await using opened = await openCollectable();
    const { metadata, content, collect, blobs } = opened;
    const [kept, rubbish] = [await store(content, "kept"), await store(content, "rubbish")];
    await using hold = await Hold.take(metadata.leases, "default", "pull");
    await hold.content(kept);
    assert.equal((await collect()).blobs, 1);
    assert.deepEqual(await blobs(), [kept]);
    assert.ok(!(await blobs()).includes(rubbish));
  });

  it("takes nothing that is written once more, and whose writer does not know its digest before", async () => {
    await using opened = await openCollectable();
    const { metadata, content, collect, blobs } = opened;
    const digest = await store(content, "wanted");
    await using hold = await Hold.take(metadata.leases, "default", "import");
    await using ingest = await content.writer("import");
    await ingest.write(new TextEncoder().encode("wanted"));
    await ingest.commit({}, {
      hold: async (digest) => {
        await hold.content(digest);
        assert.equal((await collect()).blobs, 0);
      },
    });
    assert.deepEqual(await blobs(), [digest]);
    assert.equal((await collect()).blobs, 0);
  });

  it("lets nobody wait but who wants what is being removed, and that one until it is gone", async () => {
    await using opened = await openCollectable();
    const { metadata, content, collect } = opened;
    const [wanted, other] = [await store(content, "wanted"), await store(content, "other")];
    await metadata.images.put({ namespace: "default", name: "other", target: { ...descriptor, digest: other } });
    const [began, goOn] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    const slow = watched(content, {
      async delete(digest) {
        began.resolve();
        await goOn.promise;
        await content.delete(digest);
      },
    });
    const collecting = collect({ content: slow });
    await began.promise;
    await using hold = await Hold.take(metadata.leases, "default", "pull");
    await hold.content(other);
    let held = false;
    const holding = hold.content(wanted).then(() => held = true);
    await new Promise((resolve) => setTimeout(resolve, 5));
    assert.equal(held, false);
    goOn.resolve();
    await holding;
    await assert.rejects(content.info(wanted), { code: "not_found" });
    assert.equal((await collecting).blobs, 1);
  });

  it("keeps an image that another one's manifest calls a layer", async () => {
    await using opened = await openCollectable();
    const { metadata, content, collect, blobs } = opened;
    const image = await makeImage(opened, "kept");
    const layers = [{ ...descriptor, digest: image.manifest }];
    const config = { ...descriptor, digest: await digestOf("nothing") };
    const liar = (schema: object) => store(content, JSON.stringify({ schemaVersion: 2, config, layers, ...schema }));
    const liars = [await liar({}), await liar({ annotations: {} })];
    // One is read before it, and one behind it.
    for (const [index, digest] of [liars[0]!, image.target.digest, liars[1]!].entries()) {
      await metadata.images.put({ namespace: "default", name: `${index}`, target: { ...image.target, digest } });
    }
    await collect();
    assert.deepEqual(await blobs(), [...liars, ...image.blobs].sort());
  });

  it("leaves what repositories link to, until no tag leads there and nobody has used it for a while", async () => {
    await using opened = await openCollectable();
    const { metadata, content, collect, blobs } = opened;
    const at = { namespace: "default", repository: "app" };
    const image = await makeImage(opened, "tagged");
    const pushed = await store(content, "pushed");
    await store(content, "rubbish");
    await metadata.images.put({ namespace: "default", name: "localhost/app:1", target: image.target });
    const link = { digest: image.target.digest, mediaType: mediaTypes.index, size: 1, references: [] };
    await metadata.repositories.putManifest(at, link);
    await metadata.repositories.putBlobs(at, [pushed]);
    await collect({ dryRun: true, untaggedGraceMs: -1000 });
    await collect();
    assert.deepEqual(await blobs(), [...image.blobs, pushed].sort());
    await collect({ untaggedGraceMs: -1000 });
    assert.deepEqual(await blobs(), [...image.blobs].sort());
    await metadata.images.delete("default", "localhost/app:1");
    await collect();
    assert.deepEqual(await blobs(), [image.target.digest]);
    await collect({ untaggedGraceMs: -1000 });
    assert.deepEqual(await blobs(), []);
  });

  it("removes what belongs to no image, and leaves what two images share", async () => {
    await using opened = await openCollectable();
    const { metadata, collect, blobs, keys } = opened;
    const kept = await makeImage(opened, "base", "kept");
    const removed = await makeImage(opened, "base", "removed", "top");
    await metadata.images.put({ namespace: "default", name: "kept", target: kept.target });
    await metadata.images.put({ namespace: "default", name: "removed", target: removed.target });
    assert.deepEqual(await collect(), { blobs: 0, bytes: 0, snapshots: [], ingests: [], leases: 0, problems: [] });

    await metadata.images.delete("default", "removed");
    const collected = await collect();
    assert.equal(collected.blobs, 5);
    assert.ok(collected.bytes > 0);
    assert.deepEqual(collected.snapshots, [`native/${removed.chain[2]}`, `native/${removed.chain[1]}`]);
    assert.deepEqual(collected.problems, []);
    assert.deepEqual(await blobs(), kept.blobs.toSorted());
    assert.deepEqual(await keys(), kept.chain.toSorted());
  });

  it("keeps what functions, containers and leases hold, and what is new", async () => {
    await using opened = await openCollectable();
    const { metadata, snapshotter, collect, blobs, keys } = opened;
    const byFunction = await makeImage(opened, "a");
    const byContainer = await makeImage(opened, "b");
    const byLease = await makeImage(opened, "c");
    const byView = await makeImage(opened, "d");
    const settings = v.parse(FunctionInputSchema, { image: "x" });
    const byRevision = await makeImage(opened, "e");
    for (const { manifest } of [byRevision, byFunction]) {
      await metadata.functions.put({ namespace: "default", name: "f", digest: manifest, ...settings });
    }
    await metadata.containers.create({
      namespace: "default",
      id: "c",
      image: undefined,
      runtime: "native",
      snapshotter: "native",
      snapshotKey: byContainer.chain[0],
      spec: {},
      labels: {},
    });
    const lease = await metadata.leases.create("default", new Date(Date.now() + 60_000));
    await metadata.leases.add(lease.id, [`content/${byLease.blobs[0]}`, `snapshot/native/${byLease.chain[0]}`]);
    await snapshotter.view("view", byView.chain[0]!);

    const untouched = [await blobs(), await keys()];
    await collect({ graceMs: 60_000 });
    assert.deepEqual([await blobs(), await keys()], untouched);

    await collect();
    // The index names the manifest, but it is the manifest that the function was deployed from.
    const held = [...byFunction.blobs.slice(1), ...byLease.blobs];
    assert.deepEqual(await blobs(), [...held, ...byRevision.blobs.slice(1)].sort());
    const chains = [byFunction, byContainer, byLease, byView].map(({ chain }) => chain[0]!);
    assert.deepEqual(await keys(), [...chains, byRevision.chain[0]!, "view"].sort());
    // A revision that is kept no more holds nothing.
    await metadata.functions.setTraffic("default", "f", allToLatest, { keep: 1 });
    await collect();
    assert.deepEqual([await blobs(), await keys()], [held.sort(), [...chains, "view"].sort()]);
  });

  it("keeps snapshots that are labelled as roots, with their parents, until they are not", async () => {
    await using opened = await openCollectable();
    const { snapshotter, collect, keys } = opened;
    const labelled = await makeImage(opened, "base", "labelled");
    const other = await makeImage(opened, "base", "other");
    const [, top = ""] = labelled.chain;
    await snapshotter.update(top, { "containerd.io/gc.root": "2030-01-01" });
    assert.deepEqual((await collect()).snapshots, [`native/${other.chain[1]}`]);
    assert.deepEqual(await keys(), labelled.chain.toSorted());
    await snapshotter.update(top, { "containerd.io/gc.root": null });
    await collect();
    assert.deepEqual(await keys(), []);
  });

  it("keeps what the labels of images and of kept snapshots name, and what that names", async () => {
    await using opened = await openCollectable();
    const { metadata, snapshotter, collect, blobs, keys } = opened;
    const named = await makeImage(opened, "named");
    const byImage = await makeImage(opened, "by-image");
    const bySnapshot = await makeImage(opened, "by-snapshot");
    const byThat = await makeImage(opened, "by-that");
    await metadata.images.put({
      namespace: "default",
      name: "named",
      target: named.target,
      labels: { "containerd.io/gc.ref.content.sbom": byImage.target.digest },
    });
    await snapshotter.update(named.chain[0]!, {
      "containerd.io/gc.ref.snapshot.native/0": bySnapshot.chain[0]!,
      "containerd.io/gc.ref.snapshot.other": "not here",
    });
    await snapshotter.update(bySnapshot.chain[0]!, { "containerd.io/gc.ref.content": byThat.manifest });
    await collect();
    assert.deepEqual(await blobs(), [...named.blobs, ...byImage.blobs, ...byThat.blobs.slice(1)].sort());
    assert.deepEqual(await keys(), [named, byImage, bySnapshot, byThat].map(({ chain }) => chain[0]!).sort());

    // Two that name each other, and that nobody else names, are garbage.
    await snapshotter.update(named.chain[0]!, { "containerd.io/gc.ref.snapshot.native/0": null });
    await snapshotter.update(bySnapshot.chain[0]!, { "containerd.io/gc.ref.snapshot.native": bySnapshot.chain[0]! });
    await collect();
    assert.deepEqual(await keys(), [named, byImage].map(({ chain }) => chain[0]!).sort());
  });

  it("tells what would go without removing it", async () => {
    await using opened = await openCollectable();
    const { metadata, content, collect, blobs, keys } = opened;
    const garbage = await makeImage(opened, "garbage");
    const lease = await metadata.leases.create("default", new Date(Date.now() - 1));
    await content.writer("old").then((ingest) => ingest[Symbol.asyncDispose]());
    const state = async () => [await blobs(), await keys(), await content.ingests(), await metadata.leases.list()];
    const before = await state();
    const told = await collect({ dryRun: true, ingestGraceMs: -1000 });
    assert.deepEqual(await state(), before);
    assert.deepEqual(await collect({ ingestGraceMs: -1000 }), told);
    assert.deepEqual([told.blobs, told.snapshots.length, told.ingests, told.leases], [4, 1, ["old"], 1]);
    assert.ok(lease.id !== "" && garbage.chain.length === 1);
  });

  it("lets go what an expired lease held, and old ingests", async () => {
    await using opened = await openCollectable();
    const { metadata, content, collect, blobs } = opened;
    const blob = await store(content, "held");
    const lease = await metadata.leases.create("default", new Date(Date.now() - 1));
    await metadata.leases.add(lease.id, [`content/${blob}`]);
    const live = await metadata.leases.create("default", new Date(Date.now() + 60_000));
    await metadata.leases.add(live.id, ["ingest/held"]);
    for (const ref of ["held", "old"]) await (await content.writer(ref))[Symbol.asyncDispose]();
    await using _busy = await content.writer("busy");

    const collected = await collect({ ingestGraceMs: -1000 });
    assert.deepEqual([collected.leases, collected.ingests, collected.problems], [1, ["old"], []]);
    assert.deepEqual(await blobs(), []);
    assert.deepEqual((await content.ingests()).map(({ ref }) => ref).sort(), ["busy", "held"]);
    assert.deepEqual((await metadata.leases.list()).map(({ id }) => id), [live.id]);
  });

  it("removes folders that no snapshot owns", async () => {
    await using opened = await openCollectable();
    const folder = join(opened.root, "snapshots", "native", "4711");
    await mkdir(folder);
    await opened.collect();
    assert.equal(existsSync(folder), false);
  });

  it("removes nothing while a document's bytes are not what they were", async () => {
    await using opened = await openCollectable();
    const { metadata, content, collect, blobs } = opened;
    const { target } = await makeImage(opened, "damaged");
    await store(content, "garbage");
    await metadata.images.put({ namespace: "default", name: "damaged", target });
    const before = (await blobs()).length;
    await writeFile(join(opened.root, "content/blobs/sha256", target.digest.slice(7)), "x".repeat(target.size));
    await assert.rejects(collect(), { code: "data_loss" });
    assert.equal((await blobs()).length, before);
    await metadata.images.delete("default", "damaged");
    assert.equal((await collect()).blobs, before);
  });

  it("is not kept from its work by an image that is none", async () => {
    await using opened = await openCollectable();
    const { metadata, content, collect, blobs } = opened;
    const text = JSON.stringify({ schemaVersion: 2, manifests: [{ digest: "none" }] });
    const broken = { mediaType: mediaTypes.index, digest: await store(content, text), size: text.length };
    await store(content, "garbage");
    await metadata.images.put({ namespace: "default", name: "broken", target: broken });
    assert.equal((await collect()).blobs, 1);
    assert.equal((await blobs()).length, 1);
  });

  it("sees what comes to be needed while it runs", async () => {
    await using opened = await openCollectable();
    const { metadata, content, collect, blobs } = opened;
    for (let n = 0; n < 40; n++) await store(content, `garbage ${n}`);
    const image = await makeImage(opened, "late");
    let removed = 0;
    const late = watched(content, {
      // All garbage comes before the image, which gets its name after the first few removals.
      async *list() {
        const infos = await Array.fromAsync(content.list());
        const isLate = ({ digest }: ContentInfo) => image.blobs.includes(digest);
        yield* infos.filter((info) => !isLate(info));
        yield* infos.filter(isLate);
      },
      async delete(digest) {
        await content.delete(digest);
        if (++removed === 3) await metadata.images.put({ namespace: "default", name: "late", target: image.target });
      },
    });
    await collect({ content: late });
    assert.equal(removed, 40);
    assert.deepEqual(await blobs(), image.blobs.toSorted());
  });
});
