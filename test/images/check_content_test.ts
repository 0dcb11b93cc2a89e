import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { gzipSync } from "node:zlib";
import { type Descriptor, mediaTypes } from "../../src/core/descriptor.ts";
import type { Digest } from "../../src/core/digest.ts";
import { LayoutFolder } from "../support/layout_folder.ts";
import { openRoom, type Room } from "./room.ts";
import { tarOf } from "./tar_bytes.ts";

describe("what is here of an image", () => {
  const folder = mkdtempSync(join(tmpdir(), "mayfly-check-"));
  let room: Room;
  let count = 0;
  before(async () => room = await openRoom(join(folder, "root"), { bytes: 1 << 20, entries: 100 }));
  after(async () => {
    await room?.[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  const blobPath = (digest: Digest) => join(room.root, "content/blobs", digest.replace(":", "/"));
  const archives = ["a", "b", "c"].map((path) => tarOf({ path, content: path.repeat(1000) }));
  /** Imports an image of a layout of its own, and gives its name. */
  const imported = async (make: (layout: LayoutFolder) => Descriptor) => {
    const name = `checked:${++count}`;
    const layout = new LayoutFolder(join(folder, name));
    await room.images.import("default", layout.name({ [name]: make(layout) }));
    return name;
  };
  const layersOf = async (name: string) => {
    const { target } = await room.images.get("default", name);
    return (await room.images.config(target)).layers.map(({ descriptor }) => descriptor.digest);
  };
  const bad = async (name: string) => {
    const { blobs, ok } = await room.images.verify("default", name);
    const found = blobs.filter(({ state }) => state !== "whole");
    assert.equal(ok, found.length === 0);
    return found;
  };

  it("is whole: index, manifest, configuration, and layers of gzip, zstd and plain", async () => {
    const name = await imported((layout) =>
      layout.index([
        layout.image(archives),
        { mediaType: mediaTypes.manifest, digest: `sha256:${"1".repeat(64)}`, size: 1 },
      ])
    );
    const { target, name: full } = await room.images.get("default", name);
    const { blobs, ...report } = await room.images.verify("default", name);
    assert.deepEqual(report, { name: full, digest: target.digest, elsewhere: 1, verdicts: [], ok: true });
    assert.deepEqual(blobs.map(({ kind }) => kind), ["index", "manifest", "config", "layer", "layer", "layer"]);
    assert.deepEqual(new Set(blobs.map(({ state }) => state)), new Set(["whole"]));
    assert.deepEqual(await room.metadata.leases.list(), []);
  });

  it("is told where a blob is corrupt or missing", async () => {
    const name = await imported((layout) => layout.image(["x", "y"].map((path) => tarOf({ path }))));
    const [first, second] = await layersOf(name) as [Digest, Digest];
    const bytes = readFileSync(blobPath(first));
    writeFileSync(blobPath(first), bytes.map((byte, at) => at === bytes.length - 1 ? byte ^ 1 : byte));
    rmSync(blobPath(second));
    assert.deepEqual((await bad(name)).map(({ digest, kind, state }) => [digest, kind, state]), [
      [first, "layer", "corrupt"],
      [second, "layer", "missing"],
    ]);
    const { target } = await room.images.get("default", name);
    rmSync(blobPath(target.digest));
    assert.deepEqual((await bad(name)).map(({ kind, state }) => [kind, state]), [["manifest", "missing"]]);
  });

  const wrong: readonly [what: string, make: (layout: LayoutFolder) => Descriptor, reason: RegExp][] = [
    [
      "a layer has another diffID",
      (layout) => layout.image(archives, { diffIds: [0, 0, 2].map((i) => diffId(i)) }),
      /^unpacked it is sha256:\w+, its configuration says sha256:\w+$/,
    ],
    [
      "a layer cannot be decompressed",
      (layout) => {
        const [archive = new Uint8Array()] = archives;
        const cut = layout.put(mediaTypes.layerGzip, gzipSync(archive).subarray(0, 40));
        return layout.imageOf([cut], [archive]);
      },
      /^cannot decompress gzip: /,
    ],
    [
      "a layer is larger than the limit when it is decompressed",
      (layout) => layout.image([tarOf({ path: "bomb", content: new Uint8Array(2 << 20) })]),
      /more than 1048576 bytes unpacked/,
    ],
    [
      "the configuration names another number of layers",
      (layout) => layout.image(archives, { diffIds: [diffId(0)] }),
      /^it names 1 layers, its manifest 3$/,
    ],
  ];
  const diffId = (i: number) =>
    new LayoutFolder(join(folder, "ids")).layer(archives[i] ?? new Uint8Array(), "plain").digest;
  for (const [what, make, reason] of wrong) {
    it(`is wrong where ${what}`, async () => {
      const found = await bad(await imported(make));
      assert.deepEqual(found.map(({ state }) => state), ["wrong"]);
      assert.match(found[0]?.reason ?? "", reason);
    });
  }

  it("is what it is where it is no image of files", async () => {
    const name = await imported((layout) =>
      layout.put(mediaTypes.manifest, {
        schemaVersion: 2,
        mediaType: mediaTypes.manifest,
        artifactType: "application/vnd.example",
        config: layout.put("application/vnd.oci.empty.v1+json", "{}"),
        layers: [layout.put("application/vnd.example", "anything")],
      })
    );
    assert.deepEqual(await bad(name), []);
  });

  it("is not looked for under a name that nothing has", async () => {
    await assert.rejects(room.images.verify("default", "nothing:1"), { code: "not_found" });
  });
});
