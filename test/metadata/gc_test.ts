import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import * as v from "valibot";
import { copies } from "../../snapshotters/native/copies.ts";
import { LocalContent } from "../../src/content/store.ts";
import type { ContentInfo, ContentStore } from "../../src/core/content.ts";
import { mediaTypes } from "../../src/core/descriptor.ts";
import { chainIds, type Digest, digestOf } from "../../src/core/digest.ts";
import { FunctionInputSchema } from "../../src/core/function.ts";
import { allToLatest } from "../../src/core/revision.ts";
import { SharedLock } from "../../src/core/shared_lock.ts";
import { RecordedSnapshotter } from "../../src/core/recorded_snapshotter.ts";
import { currentHost } from "../../src/host/mod.ts";
import { Hold } from "../../src/images/hold.ts";
import { Kernel } from "../../src/linux/kernel.ts";
import { SnapshotFolders } from "../../src/linux/snapshot_folders.ts";
import { WholeTrees } from "../../src/linux/whole_trees.ts";
import { collectGarbage, type GarbageCollection } from "../../src/metadata/gc.ts";
import { temporaryMetadata } from "./open.ts";

const host = await currentHost();

/** A root folder with everything that garbage collection works on. */
async function open() {
  await using stack = new AsyncDisposableStack();
  const { metadata, root } = stack.use(await temporaryMetadata());
  const content = await LocalContent.open(join(root, "content"));
  const kernel = new Kernel(host);
  const folders = await SnapshotFolders.open(kernel, join(root, "snapshots", "native"));
  const snapshotter = new RecordedSnapshotter({
    id: "native",
    scratch: false,
    store: metadata.snapshots("native"),
    files: new WholeTrees(folders, copies(kernel)),
  });
  const owned = stack.move();
  return {
    metadata,
    content,
    snapshotter,
    root,
    collect: (options: Partial<GarbageCollection> = {}) =>
      collectGarbage({
        metadata,
        content,
        snapshotters: new Map([["native", snapshotter]]),
        graceMs: -1000,
        ...options,
      }),
    blobs: async () => (await Array.fromAsync(content.list())).map(({ digest }) => digest).sort(),
    keys: async () => (await snapshotter.walk()).map(({ key }) => key).sort(),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}
type Opened = Awaited<ReturnType<typeof open>>;

async function store(content: LocalContent, text: string): Promise<Digest> {
  await using ingest = await content.writer(`test-${text}`);
  await ingest.write(new TextEncoder().encode(text));
  return (await ingest.commit()).digest;
}

/** Puts an image of some layers into the stores: an index that also names a manifest which is not there. */
async function makeImage({ content, snapshotter }: Opened, ...layers: string[]) {
  const diffIds = await Promise.all(layers.map((layer) => digestOf(`unpacked ${layer}`)));
  const put = async (mediaType: string, text: string) => ({
    mediaType,
    digest: await store(content, text),
    size: text.length,
  });
  const config = await put(
    mediaTypes.config,
    JSON.stringify({ os: "linux", architecture: "amd64", rootfs: { type: "layers", diff_ids: diffIds } }),
  );
  const blobs = await Promise.all(layers.map((layer) => put(mediaTypes.layer, layer)));
  const manifest = await put(mediaTypes.manifest, JSON.stringify({ schemaVersion: 2, config, layers: blobs }));
  const elsewhere = { ...manifest, digest: await digestOf("another platform") };
  const target = await put(
    mediaTypes.index,
    JSON.stringify({ schemaVersion: 2, manifests: [manifest, elsewhere] }),
  );
  const chain = await chainIds(diffIds);
  for (const [index, key] of chain.entries()) {
    if ((await snapshotter.walk()).some((info) => info.key === key)) continue;
    await snapshotter.prepare(`unpack-${key}`, chain[index - 1]);
    await snapshotter.commit(key, `unpack-${key}`);
  }
  return {
    target,
    manifest: manifest.digest,
    blobs: [target, manifest, config, ...blobs].map(({ digest }) => digest),
    chain,
  };
}

describe("collectGarbage()", () => {
  it("goes on beside an operation, and takes nothing of it", async () => {
    await using opened = await open();
    const { metadata, content, collect, blobs } = opened;
    const lock = new SharedLock();
    const [kept, rubbish] = [await store(content, "kept"), await store(content, "rubbish")];
    await using hold = await Hold.take({ leases: metadata.leases, lock }, "default", "pull");
    await hold.content(kept);
    assert.equal((await collect({ lock })).blobs, 1);
    assert.deepEqual(await blobs(), [kept]);
    assert.ok(!(await blobs()).includes(rubbish));
  });

  it("removes nothing that is leased while it waits for its turn", async () => {
    await using opened = await open();
    const { metadata, content, collect, blobs } = opened;
    const lock = new SharedLock();
    const digest = await store(content, "wanted");
    await using hold = await Hold.take({ leases: metadata.leases, lock }, "default", "import");
    const collecting = Promise.withResolvers<unknown>();
    await hold.committed(() => {
      // As an import that has put a blob there, and does not know it by name yet.
      collecting.resolve(collect({ lock }));
      return Promise.resolve(digest);
    });
    await collecting.promise;
    assert.deepEqual(await blobs(), [digest]);
  });

  it("leaves what repositories link to, until no tag leads there and nobody has used it for a while", async () => {
    await using opened = await open();
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
    await using opened = await open();
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
    await using opened = await open();
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
    const held = [...byFunction.blobs.slice(1), byLease.blobs[0]!];
    assert.deepEqual(await blobs(), [...held, ...byRevision.blobs.slice(1)].sort());
    const chains = [byFunction, byContainer, byLease, byView].map(({ chain }) => chain[0]!);
    assert.deepEqual(await keys(), [...chains, byRevision.chain[0]!, "view"].sort());
    // A revision that is kept no more holds nothing.
    await metadata.functions.setTraffic("default", "f", allToLatest, { keep: 1 });
    await collect();
    assert.deepEqual([await blobs(), await keys()], [held.sort(), [...chains, "view"].sort()]);
  });

  it("keeps snapshots that are labelled as roots, with their parents, until they are not", async () => {
    await using opened = await open();
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
    await using opened = await open();
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
    await using opened = await open();
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
    await using opened = await open();
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
    await using opened = await open();
    const folder = join(opened.root, "snapshots", "native", "4711");
    await mkdir(folder);
    await opened.collect();
    assert.equal(existsSync(folder), false);
  });

  it("removes nothing while a document's bytes are not what they were", async () => {
    await using opened = await open();
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
    await using opened = await open();
    const { metadata, content, collect, blobs } = opened;
    const text = JSON.stringify({ schemaVersion: 2, manifests: [{ digest: "none" }] });
    const broken = { mediaType: mediaTypes.index, digest: await store(content, text), size: text.length };
    await store(content, "garbage");
    await metadata.images.put({ namespace: "default", name: "broken", target: broken });
    assert.equal((await collect()).blobs, 1);
    assert.equal((await blobs()).length, 1);
  });

  it("sees what comes to be needed while it runs", async () => {
    await using opened = await open();
    const { metadata, content, collect, blobs } = opened;
    for (let n = 0; n < 40; n++) await store(content, `garbage ${n}`);
    const image = await makeImage(opened, "late");
    let removed = 0;
    const watched: ContentStore = {
      info: (digest) => content.info(digest),
      read: (digest, range) => content.read(digest, range),
      bytes: (digest, limit) => content.bytes(digest, limit),
      writer: (ref, expected) => content.writer(ref, expected),
      ingests: () => content.ingests(),
      abort: (ref) => content.abort(ref),
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
    };
    await collect({ content: watched });
    assert.equal(removed, 40);
    assert.deepEqual(await blobs(), image.blobs.toSorted());
  });
});
