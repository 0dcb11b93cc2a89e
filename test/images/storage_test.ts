import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import type { Digest } from "../../src/core/digest.ts";
import { Storage } from "../../src/images/storage.ts";
import { collectGarbage } from "../../src/metadata/gc.ts";
import { LayoutFolder } from "../support/layout_folder.ts";
import { startRegistry, type TestRegistry } from "../support/registry.ts";
import { openRoom, type Room } from "./room.ts";
import { tarOf } from "./tar_bytes.ts";

describe("the state folder", () => {
  const folder = mkdtempSync(join(tmpdir(), "mayfly-storage-"));
  let room: Room;
  let registry: TestRegistry;
  let storage: Storage;

  before(async () => {
    room = await openRoom(join(folder, "root"));
    registry = await startRegistry();
    storage = new Storage({
      ...room,
      collect: (options) => collectGarbage({ ...room, graceMs: 0, ...options }),
      refetch: (namespace, name) => room.images.refetch(namespace, name),
    });
    const made = new LayoutFolder(join(folder, "layout"));
    const names = made.name({
      "one:1": made.image([tarOf({ path: "a", content: "a".repeat(100_000) }), tarOf({ path: "b", content: "b" })]),
      "two:1": made.image([tarOf({ path: "a", content: "a".repeat(100_000) }), tarOf({ path: "c", content: "c" })]),
    });
    for (const name of ["one:1", "two:1"]) await registry.push(`oci:${names}:${name}`, `t/${name}`);
    for (const name of ["one:1", "two:1"]) {
      await room.images.pull("default", `${registry.host}/t/${name}`, { snapshotter: "overlay" });
    }
  });
  after(async () => {
    await registry?.[Symbol.asyncDispose]();
    await room?.[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  const blobPath = (digest: Digest) => join(room.root, "content/blobs", digest.replace(":", "/"));
  const layersOf = async (name: string) => {
    const { target } = await room.images.get("default", `${registry.host}/t/${name}`);
    return (await room.images.config(target)).layers.map(({ descriptor }) => descriptor.digest);
  };

  it("every byte of it is explained", async () => {
    mkdirSync(join(room.root, "somebody"));
    writeFileSync(join(room.root, "somebody/file"), new Uint8Array(10_000));
    mkdirSync(join(room.root, "checkpoints/one"), { recursive: true });
    const { parts, totalBytes, root } = await storage.usage();
    assert.equal(root, room.root);
    const of = (path: string) => parts.find((part) => part.path === path);
    assert.deepEqual([of("content/blobs")?.count, of("snapshots/overlay")?.count], [7, 3]);
    assert.ok((of("somebody")?.bytes ?? 0) >= 10_000 && of("somebody")?.kind === "unknown");
    assert.equal(of("mayfly.db")?.kind, "metadata");
    assert.deepEqual([of("checkpoints")?.kind, of("checkpoints")?.count], ["ingests", 1]);
    const sum = parts.reduce((sum, { bytes }) => sum + bytes, 0);
    // What is left are the folders between the parts.
    assert.ok(totalBytes - sum >= 0 && totalBytes - sum < 1 << 20, `${totalBytes} of ${sum}`);
    assert.equal(parts.reduce((sum, { reclaimableBytes }) => sum + reclaimableBytes, 0), 0);
    rmSync(join(room.root, "somebody"), { recursive: true });
  });

  it("what is reclaimable is what a collection frees", async () => {
    await room.images.remove("default", `${registry.host}/t/two:1`);
    const before = await storage.usage();
    const reclaimable = before.parts.filter(({ reclaimableBytes }) => reclaimableBytes > 0).map(({ path }) => path);
    assert.deepEqual(reclaimable, ["content/blobs", "snapshots/overlay"]);
    const { blobs, snapshots } = await storage.collect({ dryRun: false });
    assert.deepEqual([blobs, snapshots.length], [3, 1]);
    assert.equal((await storage.usage()).parts.reduce((sum, { reclaimableBytes }) => sum + reclaimableBytes, 0), 0);
  });

  it("damaged and missing blobs are told, with who needs them", async () => {
    assert.deepEqual((await storage.verify()).problems, []);
    const [first, second] = await layersOf("one:1") as [Digest, Digest];
    const bytes = new Uint8Array(await new Response(await room.content.read(first)).arrayBuffer());
    writeFileSync(blobPath(first), bytes.map((byte, at) => at === 10 ? byte ^ 1 : byte));
    rmSync(blobPath(second));
    const images = [`default ${registry.host}/t/one:1`];
    assert.deepEqual(
      new Set((await storage.verify()).problems),
      new Set([{ digest: first, problem: "corrupt", images }, { digest: second, problem: "missing", images }]),
    );
  });

  it("they are brought again from where they came, and the name stays what it is", async () => {
    const name = `${registry.host}/t/one:1`;
    const { target } = await room.images.get("default", name);
    const { problems } = await storage.verify({ repair: true });
    assert.deepEqual(problems.map(({ repaired }) => repaired), [true, true]);
    assert.deepEqual((await storage.verify()).problems, []);
    assert.deepEqual((await room.images.get("default", name)).target, target);
    assert.deepEqual((await room.images.list("default")).map((image) => image.name), [name]);
  });

  it("what cannot be brought again is told with the reason", async () => {
    const made = new LayoutFolder(join(folder, "imported"));
    const layer = tarOf({ path: "only here" });
    await room.images.import("default", made.name({ "localhost:1/imported:1": made.image([layer]) }));
    const { digest } = made.layer(layer);
    rmSync(blobPath(digest));
    const [problem, ...more] = (await storage.verify({ repair: true })).problems;
    assert.deepEqual([problem?.digest, problem?.problem, problem?.repaired, more.length], [
      digest,
      "missing",
      false,
      0,
    ]);
    assert.match(problem?.reason ?? "", /cannot (resolve|fetch|reach) .*localhost:1/);
    assert.ok(!existsSync(blobPath(digest)));
  });
});

describe("a store whose database was lost", () => {
  const folder = mkdtempSync(join(tmpdir(), "mayfly-recover-"));
  const root = join(folder, "root");
  after(() => rmSync(folder, { recursive: true, force: true }));
  const storageOf = (room: Room) =>
    new Storage({
      ...room,
      collect: (options) => collectGarbage({ ...room, graceMs: 0, ...options }),
      refetch: (namespace, name) => room.images.refetch(namespace, name),
    });

  it("has its images named again: all that no other one leads to", async () => {
    const made = new LayoutFolder(join(folder, "layout"));
    const layers = ["a", "b"].map((path) => tarOf({ path, content: path.repeat(1000) }));
    const said = { annotations: { "io.containerd.image.name": "registry.example/team/app:2" } };
    const images = {
      "plain:1": made.image([layers[0] ?? new Uint8Array()]),
      "app:2": made.image(layers, said),
      "cut:1": made.image([tarOf({ path: "c", content: "c" })]),
    };
    const layout = made.name(images);
    let cut: Digest;
    {
      await using room = await openRoom(root);
      await room.images.import("default", layout);
      assert.deepEqual(await storageOf(room).recover("default"), { images: [], known: 3 });
      const { target } = await room.images.get("default", "cut:1");
      cut = (await room.images.config(target)).layers[0]?.descriptor.digest as Digest;
    }
    for (const end of ["", "-wal", "-shm"]) rmSync(join(root, `mayfly.db${end}`), { force: true });
    rmSync(join(root, "content/blobs", cut.replace(":", "/")));

    await using room = await openRoom(root);
    assert.match(room.metadata.conflict ?? "", /mayfly content recover/);
    await assert.rejects(storageOf(room).collect({ dryRun: false }), { code: "failed_precondition" });
    const { images: recovered, known } = await storageOf(room).recover("team");
    assert.equal(known, 0);
    const unnamed = (digest: string) => `localhost/recovered:${digest.slice(7, 19)}`;
    const expected = Object.entries(images).map(([name, { digest }]) =>
      name === "app:2"
        ? { name: "registry.example/team/app:2", digest, own: true, missing: 0 }
        : { name: unnamed(digest), digest, own: false, missing: name === "cut:1" ? 1 : 0 }
    );
    assert.deepEqual(new Set(recovered), new Set(expected));
    const { target } = await room.images.get("team", "registry.example/team/app:2");
    await room.images.unpack(target.digest, "overlay");
    assert.deepEqual((await storageOf(room).recover("team")).images, []);
  });
});
