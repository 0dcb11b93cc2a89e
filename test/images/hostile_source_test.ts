import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import type { Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { gzipSync } from "node:zlib";
import { type Descriptor, mediaTypes } from "../../src/core/descriptor.ts";
import { type OddServer, oddServer } from "../distribution/odd_server.ts";
import { openRoom, type Room } from "./room.ts";
import { tarOf } from "./tar_bytes.ts";

const describeBytes = (mediaType: string, bytes: Uint8Array): Descriptor => ({
  mediaType,
  digest: `sha256:${createHash("sha256").update(bytes).digest("hex")}`,
  size: bytes.length,
});
const json = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));

const archive = tarOf({ path: "hello", content: "hello" });
const layerBytes = gzipSync(archive);
const layer = describeBytes(mediaTypes.layerGzip, layerBytes);
const configBytes = json({
  os: "linux",
  architecture: "amd64",
  rootfs: { type: "layers", diff_ids: [describeBytes(mediaTypes.layer, archive).digest] },
});
const config = describeBytes(mediaTypes.config, configBytes);

/** Serves an image; its layer as `layer` says. */
async function registry(image: Descriptor, serveLayer: (socket: Socket) => Uint8Array | undefined): Promise<OddServer> {
  const bytes = json({ schemaVersion: 2, mediaType: mediaTypes.manifest, config, layers: [image] });
  const manifest = describeBytes(mediaTypes.manifest, bytes);
  return await oddServer(({ path }, socket) => {
    if (path.includes("/manifests/")) {
      const headers = { "content-type": mediaTypes.manifest, "docker-content-digest": manifest.digest };
      return { status: 200, headers, body: bytes };
    }
    if (path.endsWith(config.digest)) return { status: 200, body: configBytes };
    const body = serveLayer(socket);
    return body === undefined ? undefined : { status: 200, body };
  });
}

describe("An image from one registry, and the same layer from a hostile one", () => {
  const folder = mkdtempSync(join(tmpdir(), "mayfly-source-"));
  const servers: OddServer[] = [];
  let room: Room;
  before(async () => void (room = await openRoom(join(folder, "root"))));
  after(async () => {
    for (const server of servers) await server[Symbol.asyncDispose]();
    await room[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });
  const serve = async (...args: Parameters<typeof registry>) => {
    const server = await registry(...args);
    servers.push(server);
    return `${server.host}/a/b:1`;
  };

  it("does not wait for one that sends nothing more, nor goes on with what it has sent", async () => {
    const asked = Promise.withResolvers<void>();
    const hostile = await serve(layer, (socket) => {
      const wrong = new Uint8Array(20).fill(7);
      socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${layer.size}\r\n\r\n`);
      socket.write(wrong, () => asked.resolve());
      return undefined;
    });
    const stop = new AbortController();
    const stuck = room.images.pull("other", hostile, { snapshotter: "overlay", signal: stop.signal });
    stuck.catch(() => {});
    await asked.promise;
    const good = await serve(layer, () => layerBytes);
    await room.images.pull("default", good, { snapshotter: "overlay", signal: AbortSignal.timeout(3000) });
    stop.abort();
    await assert.rejects(stuck);
  });

  it("does not fail with one whose layer is not what its image says", async () => {
    const snapshotter = "native";
    const wrongBytes = gzipSync(tarOf({ path: "hello", content: "wrong" }));
    const hostile = await serve(describeBytes(mediaTypes.layerGzip, wrongBytes), () => wrongBytes);
    const good = await serve(layer, () => layerBytes);
    const pulls = [hostile, good].map((name) => room.images.pull("default", name, { snapshotter }));
    // Whether the hostile one fails too is decided by which of them is first.
    pulls[0]?.catch(() => {});
    await pulls[1];
    await Promise.allSettled(pulls);
  });
});
