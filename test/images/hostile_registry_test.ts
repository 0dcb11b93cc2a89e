/** Registries that lie: each is refused within a bound, leaves nothing, and does not keep others from pulling. */
import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, beforeEach, describe, it } from "node:test";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { type Descriptor, mediaTypes } from "../../src/core/descriptor.ts";
import { codeOf, type ErrorCode, messageOf } from "../../src/core/errors.ts";
import { collectGarbage } from "../../src/metadata/gc.ts";
import { HostileRegistry } from "../support/hostile_registry.ts";
import { digestOfBytes } from "../support/layout_folder.ts";
import { openRoom, type Room } from "./room.ts";
import { blocks, joined, tarOf } from "./tar_bytes.ts";

type Bytes = Uint8Array<ArrayBuffer>;

const namespace = "default";
const limits = { bytes: 1 << 20, entries: 1000 };
const archive = tarOf({ path: "hello", content: "hello" });

describe("a hostile registry", () => {
  const folder = mkdtempSync(join(tmpdir(), "mayfly-hostile-"));
  let room: Room;
  let registry: HostileRegistry;
  let layer: Descriptor;
  before(async () => {
    room = await openRoom(join(folder, "root"), limits);
  });
  beforeEach(async () => {
    for (const { name } of await room.images.list(namespace)) await room.images.remove(namespace, name);
    await registry?.[Symbol.asyncDispose]();
    registry = await HostileRegistry.start();
    layer = registry.layer(archive);
    registry.image([layer], [archive], "1");
    const other = tarOf({ path: "good", content: "good" });
    registry.image([registry.layer(other)], [other], "good");
  });
  after(async () => {
    await registry?.[Symbol.asyncDispose]();
    await room?.[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  const pull = (tag: string) => room.images.pull(namespace, `${registry.host}/a/b:${tag}`, { snapshotter: "overlay" });
  /** What is there when garbage is collected; what came of a blob stays for a day, for who pulls it again. */
  const left = async () => {
    await collectGarbage({ ...room, graceMs: -1000, ingestGraceMs: -1000 });
    const files = readdirSync(join(room.root, "content"), { recursive: true, withFileTypes: true });
    const snapshots = await Promise.all([...room.snapshotters.values()].map((each) => each.walk()));
    return {
      content: files.filter((file) => file.isFile() && /[0-9a-f]{64}/.test(join(file.parentPath, file.name))).length,
      ingests: (await room.content.ingests()).length,
      snapshots: snapshots.flat().length,
      folders: readdirSync(join(room.root, "snapshots/overlay")).length,
      images: (await room.images.list(namespace)).length,
      leases: (await room.metadata.leases.list()).length,
    };
  };
  const nothing = { content: 0, ingests: 0, snapshots: 0, folders: 0, images: 0, leases: 0 };

  /** Pulls what is refused, and beside it what is good. */
  const refuses = async (code: ErrorCode, text: RegExp, tag = "1") => {
    const bad = assert.rejects(pull(tag), (error) => {
      assert.equal(codeOf(error), code, String(error));
      assert.match(messageOf(error), text);
      assert.ok(messageOf(error).length < 2000);
      return true;
    });
    const good = await pull("good");
    await bad;
    await room.images.remove(namespace, good.name);
    assert.deepEqual(await left(), nothing);
  };

  const same = (bytes: Bytes) => () => ({ status: 200, body: bytes });
  const lies: readonly [what: string, lie: Parameters<HostileRegistry["lie"]>[1], code: ErrorCode, text: RegExp][] = [
    [
      "other bytes than the digest says",
      () => ({ status: 200, body: new Uint8Array(layer.size).fill(7) }),
      "data_loss",
      /what came for blob sha256:\w+ has the digest sha256:/,
    ],
    ["fewer bytes than the manifest says", same(new Uint8Array(3)), "data_loss", /3/],
    ["more bytes than the manifest says", same(new Uint8Array(9999)), "data_loss", /9999|more than/],
    [
      "a body without end",
      (socket) => {
        socket.write("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n");
        const more = () => void (socket.destroyed || socket.write(new Uint8Array(65536), () => setTimeout(more, 1)));
        more();
        return undefined;
      },
      "data_loss",
      /more than/,
    ],
    [
      "a body that stalls",
      (socket) => void socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${layer.size}\r\n\r\nab`) as undefined,
      "deadline_exceeded",
      /sent nothing more within 5 s/,
    ],
    ["a redirect to itself", () => ({ status: 307, headers: { location: "?" } }), "unavailable", /more than 5 times/],
    [
      "a redirect to a file",
      () => ({ status: 307, headers: { location: "file:///etc/passwd" } }),
      "permission_denied",
      /neither https nor http/,
    ],
    [
      "a token realm on another host without TLS",
      () => ({ status: 401, headers: { "www-authenticate": 'Bearer realm="http://192.0.2.1/token"' } }),
      "failed_precondition",
      /192\.0\.2\.1 is not reached over https/,
    ],
  ];
  for (const [what, lie, code, text] of lies) {
    it(`that answers for a layer with ${what} is refused`, async () => {
      registry.lie(layer.digest, lie);
      await refuses(code, text);
    });
  }

  it("that is slow with a configuration is asked for the layers meanwhile", async () => {
    const bytes = new TextEncoder().encode(JSON.stringify({
      os: "linux",
      architecture: "amd64",
      rootfs: { type: "layers", diff_ids: [digestOfBytes(archive)] },
    }));
    const config = registry.put(mediaTypes.config, bytes);
    registry.lie(config.digest, (socket) => {
      const answer = () => {
        socket.write(`HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: ${bytes.length}\r\n\r\n`);
        socket.end(bytes);
      };
      const look = () => registry.asked(layer.digest) > 0 ? answer() : void (socket.destroyed || setTimeout(look, 1));
      look();
      return undefined;
    });
    const manifest = { schemaVersion: 2, mediaType: mediaTypes.manifest, config, layers: [layer] };
    registry.put(mediaTypes.manifest, manifest, "slow");
    assert.match((await pull("slow")).name, /:slow$/);
  });

  it("whose configuration is for another machine is refused, and its layers with it", async () => {
    const config = registry.put(mediaTypes.config, {
      os: "plan9",
      architecture: "amd64",
      rootfs: { type: "layers", diff_ids: [digestOfBytes(archive)] },
    });
    const manifest = { schemaVersion: 2, mediaType: mediaTypes.manifest, config, layers: [layer] };
    registry.put(mediaTypes.manifest, manifest, "1");
    registry.lie(layer.digest, (socket) => {
      socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${layer.size}\r\n\r\nab`);
      return undefined;
    });
    await refuses("failed_precondition", /built for plan9\/amd64/);
  });

  it("whose manifest is too large is refused", async () => {
    registry.put(mediaTypes.manifest, new Uint8Array(5 << 20), "1");
    await refuses("resource_exhausted", /5242880 bytes, a manifest may have 4194304/);
  });

  it("whose manifest is said to be small and does not end is refused", async () => {
    const manifest = registry.image([layer], [archive], "1");
    registry.lie(manifest.digest, () => ({ status: 200, body: new Uint8Array(5 << 20) }));
    await refuses("data_loss", /sends more than|5242880/);
  });

  it("whose configuration is said to be huge is refused", async () => {
    const config = { mediaType: mediaTypes.config, digest: layer.digest, size: 2 ** 40 };
    registry.put(mediaTypes.manifest, { schemaVersion: 2, mediaType: mediaTypes.manifest, config, layers: [] }, "1");
    await refuses("resource_exhausted", /said to have 1099511627776 bytes/);
  });

  it("whose index leads from one to the next is refused", async () => {
    let target = registry.image([layer], [archive]);
    for (let depth = 0; depth < 6; depth++) {
      const index = { schemaVersion: 2, mediaType: mediaTypes.index, manifests: [target] };
      target = registry.put(mediaTypes.index, index, "1");
    }
    await refuses("invalid_argument", /more than 4 indexes/);
  });

  it("whose layer is no archive is refused", async () => {
    registry.image([{ ...layer, mediaType: "text/html" }], [archive], "1");
    await refuses("unimplemented", /its media type is "text\/html"/);
  });

  it("that calls a manifest an index is refused", async () => {
    const manifest = registry.image([layer], [archive]);
    registry.put(mediaTypes.index, { schemaVersion: 2, mediaType: mediaTypes.index, manifests: "none" }, "1");
    await refuses("invalid_argument", /"manifests" is/);
    const index = { schemaVersion: 2, manifests: [{ ...manifest, mediaType: mediaTypes.index }] };
    registry.put(mediaTypes.index, { ...index, mediaType: mediaTypes.index }, "1");
    await refuses("invalid_argument", /it says that it is .*manifest.*, who names it says .*index/);
  });

  it("whose image has more layers than may be is refused", async () => {
    registry.image(Array(501).fill(layer), Array(501).fill(archive), "1");
    await refuses("invalid_argument", /500 layers/);
  });

  it("whose image has a layer twice gives it twice, and is asked once", async () => {
    registry.image([layer, layer], [archive, archive], "1");
    const image = await pull("1");
    assert.equal((await room.images.config(image.target)).layers.length, 2);
    assert.equal(registry.asked(layer.digest), 1);
    await room.images.remove(namespace, image.name);
    assert.deepEqual(await left(), nothing);
  });

  const zeros = new Uint8Array(64 << 20);
  const bomb = tarOf({ path: "zeros", content: zeros });
  const layers: readonly [what: string, archive: Bytes, code: ErrorCode, text: RegExp, form?: "zstd"][] = [
    ["is a gzip bomb", bomb, "resource_exhausted", /more than 1048576 bytes unpacked/],
    ["is a zstd bomb", bomb, "resource_exhausted", /more than 1048576 bytes unpacked/, "zstd"],
    [
      "has empty entries without number",
      joined(Array.from({ length: 100_000 }, (_, i) => blocks({ path: `e${i}` })).flat()),
      "resource_exhausted",
      /more than 1000 files and folders|more than 1048576 bytes/,
    ],
    [
      "has the same empty entry without number",
      joined(Array(100_000).fill(blocks({ path: "same" })).flat()),
      "resource_exhausted",
      /more than/,
    ],
    ["has a name with NUL", tarOf({ path: "a", pax: { path: "a\0b" } }), "invalid_argument", /NUL/],
    [
      "has a name of 100 kB",
      tarOf({ path: "a", pax: { path: "n".repeat(100_000) } }),
      "invalid_argument",
      /4096 bytes/,
    ],
    [
      "has a name of 100 kB in GNU's form",
      tarOf({ path: "././@LongLink", type: "L", content: "n".repeat(100_000) }, { path: "a" }),
      "invalid_argument",
      /4096 bytes/,
    ],
    [
      "has a link to a name of 100 kB",
      tarOf({ path: "a", type: "2", pax: { linkpath: "n".repeat(100_000) } }),
      "invalid_argument",
      /4096 bytes/,
    ],
  ];
  for (const [what, archive, code, text, form] of layers) {
    it(`whose layer ${what} is refused`, async () => {
      const packed = form === "zstd"
        ? registry.put(mediaTypes.layerZstd, new Uint8Array(zstdCompressSync(archive)))
        : registry.put(mediaTypes.layerGzip, new Uint8Array(gzipSync(archive, { level: 1 })));
      registry.image([packed], [archive], "1");
      await refuses(code, text);
    });
  }

  it("whose layer has a name with a newline gives just that", async () => {
    const archive = tarOf({ path: "a\nb", content: "x" });
    registry.image([registry.layer(archive)], [archive], "1");
    const image = await pull("1");
    const paths = readdirSync(join(room.root, "snapshots"), { recursive: true, encoding: "utf8" });
    assert.equal(paths.filter((path) => path.endsWith("/a\nb")).length, 1);
    await room.images.remove(namespace, image.name);
    assert.deepEqual(await left(), nothing);
  });
});
