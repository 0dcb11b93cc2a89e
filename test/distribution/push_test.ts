import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { after, before, describe, it } from "node:test";
import { type Descriptor, mediaTypes } from "../../src/core/descriptor.ts";
import { codeOf } from "../../src/core/errors.ts";
import { parseReference } from "../../src/core/reference.ts";
import { Registry } from "../../src/distribution/registry.ts";
import { registryUser, startRegistry, type TestRegistry } from "../support/registry.ts";
import { oddServer } from "./odd_server.ts";

const chunkBytes = 100_000;

function client(attempts = 3): Registry {
  return new Registry({
    plainHttp: [],
    credentials: async () => undefined,
    headerTimeoutMs: 5000,
    stallTimeoutMs: 5000,
    chunkBytes,
    retry: { attempts, baseMs: 10, maxMs: 100 },
  });
}

function blobOf(size: number): { bytes: Uint8Array<ArrayBuffer>; descriptor: Descriptor } {
  const bytes = new Uint8Array(randomBytes(size));
  const digest = `sha256:${createHash("sha256").update(bytes).digest("hex")}` as const;
  return { bytes, descriptor: { mediaType: mediaTypes.layer, digest, size } };
}

/** Bytes in pieces that fit no chunk. */
const from = (bytes: Uint8Array) =>
  async function* (offset: number) {
    for (let at = offset; at < bytes.length; at += 7001) yield bytes.subarray(at, at + 7001);
  };

async function fetched(registry: Registry, name: string, descriptor: Descriptor): Promise<Uint8Array> {
  const { body } = await registry.fetch(parseReference(name), descriptor, { credentials: registryUser });
  return new Uint8Array(await new Response(body).arrayBuffer());
}

/** A way to the registry that is cut once, in the middle of the nth PATCH. */
async function cutOnce(target: string, nth: number): Promise<AsyncDisposable & { host: string; cut: () => boolean }> {
  const [host = "", port] = target.split(":");
  let patches = 0;
  let cut = false;
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    const there = connect(Number(port), host);
    sockets.add(socket);
    there.on("error", () => socket.destroy());
    socket.on("error", () => there.destroy());
    socket.on("close", () => there.destroy());
    there.on("close", () => socket.destroy());
    there.pipe(socket);
    socket.on("data", (chunk) => {
      if (chunk.includes("PATCH ")) patches++;
      if (!cut && patches === nth && !chunk.includes("PATCH ")) {
        cut = true;
        // A part of it arrives.
        return void there.write(chunk.subarray(0, 1000), () => socket.destroy());
      }
      there.write(chunk);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    host: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    cut: () => cut,
    [Symbol.asyncDispose]: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
  };
}

describe("pushing to a registry", () => {
  let open: TestRegistry;
  let tokens: TestRegistry;
  before(async () => {
    open = await startRegistry();
    tokens = await startRegistry({ auth: "token" });
  });
  after(async () => {
    await open?.[Symbol.asyncDispose]();
    await tokens?.[Symbol.asyncDispose]();
  });

  for (const size of [0, 1, chunkBytes, chunkBytes + 1, 4 * chunkBytes, 1_234_567]) {
    it(`sends a blob of ${size} bytes, once`, async () => {
      const { bytes, descriptor } = blobOf(size);
      const to = parseReference(`${open.host}/a/b:1`);
      const sent: number[] = [];
      const onSent = (count: number) => void sent.push(count);
      assert.equal(await client().pushBlob(to, descriptor, from(bytes), { onSent }), "uploaded");
      assert.equal(sent.at(-1), size);
      assert.deepEqual(sent, [...sent].sort((a, b) => a - b));
      assert.equal(Buffer.compare(await fetched(client(), `${open.host}/a/b:1`, descriptor), bytes), 0);
      const never = () => assert.fail("it is there already");
      assert.equal(await client().pushBlob(to, descriptor, never), "exists");
      const elsewhere = parseReference(`${open.host}/else/where:1`);
      assert.equal(await client().pushBlob(elsewhere, descriptor, from(bytes), { from: ["no/such"] }), "uploaded");
      assert.equal(
        await client().pushBlob(parseReference(`${open.host}/other/c`), descriptor, never, { from: ["a/b"] }),
        "mounted",
      );
    });
  }

  for (const nth of [1, 2]) {
    it(`goes on where the connection broke in chunk ${nth}`, async () => {
      const { bytes, descriptor } = blobOf(8 * chunkBytes);
      await using way = await cutOnce(open.host, nth);
      const name = `${way.host}/broken/way:1`;
      assert.equal(await client().pushBlob(parseReference(name), descriptor, from(bytes)), "uploaded");
      assert.ok(way.cut());
      assert.equal(Buffer.compare(await fetched(client(), name, descriptor), bytes), 0);
    });
  }

  it("puts a manifest under its tag, and one without a tag under its digest", async () => {
    const [config, layer] = [blobOf(100), blobOf(1000)];
    const to = parseReference(`${open.host}/m/n:1`);
    for (const { bytes, descriptor } of [config, layer]) await client().pushBlob(to, descriptor, from(bytes));
    const text = JSON.stringify({
      schemaVersion: 2,
      mediaType: mediaTypes.manifest,
      config: { ...config.descriptor, mediaType: mediaTypes.config },
      layers: [layer.descriptor],
    });
    const bytes = new TextEncoder().encode(text);
    const digest = `sha256:${createHash("sha256").update(bytes).digest("hex")}` as const;
    const manifest = { mediaType: mediaTypes.manifest, digest, size: bytes.length };
    const byDigest = parseReference(`${open.host}/m/n@${digest}`);
    await client().pushManifest(byDigest, manifest, bytes);
    assert.deepEqual(await client().resolve(byDigest), manifest);
    await assert.rejects(client().resolve(to), (error) => codeOf(error) === "not_found");
    await client().pushManifest(to, manifest, bytes);
    assert.deepEqual(await client().resolve(to), manifest);

    const absent = bytes.slice();
    await assert.rejects(
      client().pushManifest(parseReference(`${open.host}/not/there:1`), manifest, absent),
      (error) => codeOf(error) === "invalid_argument" && /BLOB_UNKNOWN|blob unknown/i.test(String(error)),
    );
  });

  it("refuses bytes that are not those of the digest, and leaves no upload", async () => {
    const { bytes, descriptor } = blobOf(2 * chunkBytes);
    const other = { ...descriptor, digest: blobOf(10).descriptor.digest };
    await assert.rejects(
      client().pushBlob(parseReference(`${open.host}/a/b:1`), other, from(bytes)),
      (error) => codeOf(error) === "invalid_argument" && /DIGEST_INVALID/.test(String(error)),
    );
  });

  it("asks for the right to push, and to read what it mounts from", async () => {
    const { bytes, descriptor } = blobOf(10_000);
    const options = { credentials: registryUser };
    const [here, there] = ["private/here", "private/there"].map((name) => parseReference(`${tokens.host}/${name}:1`));
    const asked = tokens.tokens?.asked.length ?? 0;
    const registry = client();
    assert.equal(await registry.pushBlob(here!, descriptor, from(bytes), options), "uploaded");
    // The registry names the actions in any order.
    const words = tokens.tokens?.asked.slice(asked).map((line) => line.replace("push,pull", "pull,push"));
    assert.deepEqual(words, [
      // The registry says what the HEAD wanted; the upload wants more.
      "GET alice repository:private/here:pull",
      "GET alice repository:private/here:pull,push",
    ]);
    assert.equal(
      await registry.pushBlob(there!, descriptor, from(bytes), { ...options, from: ["private/here"] }),
      "mounted",
    );
    assert.match(
      tokens.tokens?.asked.at(-1) ?? "",
      /^GET alice (?=.*repository:private\/there:(pull,push|push,pull))(?=.*repository:private\/here:pull)/,
    );
    assert.equal(Buffer.compare(await fetched(registry, `${tokens.host}/private/there:1`, descriptor), bytes), 0);
  });

  it("says who may not push", async () => {
    const { bytes, descriptor } = blobOf(10);
    const to = parseReference(`${tokens.host}/public/x:1`);
    await assert.rejects(
      client().pushBlob(to, descriptor, from(bytes)),
      (error) => codeOf(error) === "unauthenticated" && /log in with "docker login/.test(String(error)),
    );
  });

  it("sends nothing to a place of which the registry speaks on another machine's link", async () => {
    await using odd = await oddServer(({ method }) =>
      method === "HEAD" ? { status: 404 } : { status: 202, headers: { location: "file:///etc/passwd" } }
    );
    const { bytes, descriptor } = blobOf(10);
    await assert.rejects(
      client().pushBlob(parseReference(`${odd.host}/x:1`), descriptor, from(bytes)),
      (error) => codeOf(error) === "permission_denied" && /neither https nor http/.test(String(error)),
    );
  });

  it("gives up on a registry that always fails, and says what it answered", async () => {
    await using odd = await oddServer(({ method }) =>
      method === "HEAD" ? { status: 404 } : { status: 503, body: "come back", headers: { "retry-after": "0" } }
    );
    const { bytes, descriptor } = blobOf(10);
    await assert.rejects(
      client(2).pushBlob(parseReference(`${odd.host}/x:1`), descriptor, from(bytes)),
      (error) => codeOf(error) === "unavailable" && /answered 503/.test(String(error)),
    );
    assert.equal(odd.requests.filter(({ method }) => method === "POST").length, 2);
  });
});
