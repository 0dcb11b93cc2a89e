import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { LocalContent } from "../../src/content/store.ts";
import { codeOf } from "../../src/core/errors.ts";
import { errorResponse } from "../../src/registry/errors.ts";
import { defaultLimits, type RegistryLimits } from "../../src/registry/limits.ts";
import { Uploads } from "../../src/registry/uploads.ts";
import { temporaryMetadata } from "../metadata/open.ts";
import { digestOfBytes } from "../support/layout_folder.ts";
import { MayflyProcess } from "../support/mayfly_process.ts";
import { until } from "../support/until.ts";
import { RegistryClient, registryEnv, tokens } from "./client.ts";

const at = { namespace: "default", repository: "a/b" };

async function open(limits: Partial<RegistryLimits> = {}, disk: { limitBytes?: number; diskBytes?: number } = {}) {
  await using stack = new AsyncDisposableStack();
  const { metadata, root } = stack.use(await temporaryMetadata());
  if (disk.diskBytes !== undefined) {
    mkdirSync(join(root, "content"));
    execFileSync("mount", ["-t", "tmpfs", "-o", `size=${disk.diskBytes}`, "tmpfs", join(root, "content")]);
    stack.defer(() => void execFileSync("umount", [join(root, "content")]));
  }
  const content = await LocalContent.open(join(root, "content"), disk);
  const openUploads = () =>
    Uploads.open({
      content,
      repositories: metadata.repositories,
      barrier: metadata.barrier,
      limits: { ...defaultLimits, ...limits },
      onError: (error) => assert.ifError(error),
    });
  const uploads = stack.use(await openUploads());
  const owned = stack.move();
  return {
    uploads,
    openUploads,
    content,
    metadata,
    /** A blob that is in the store. */
    has: (digest: string) => readdirSync(join(root, "content/blobs/sha256")).includes(digest.slice(7)),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

const body = (text: string) => new Blob([text]).stream();
const registryCode = (wanted: string) => (error: unknown) => {
  assert.equal((error as { details?: { registryCode?: string } }).details?.registryCode, wanted);
  return true;
};

describe("Uploads", () => {
  it("expire, and leave nothing", async () => {
    await using opened = await open({ uploadQuietMs: 5, uploadExpiryMs: 20 });
    const { uploads, content } = opened;
    const upload = await uploads.start(at);
    await uploads.append(upload, body("some bytes"));
    await until(async () => (await content.ingests()).length === 0);
    assert.throws(() => uploads.get(at, upload.id), registryCode("BLOB_UPLOAD_UNKNOWN"));
  });

  it("that are quiet put down their file, and go on", async () => {
    await using opened = await open({ uploadQuietMs: 5 });
    const { uploads, content } = opened;
    const upload = await uploads.start(at);
    await uploads.append(upload, body("some "));
    // Nobody holds it then.
    await until(async () => {
      const [ingest] = await content.ingests();
      return ingest?.offset === 5;
    });
    await uploads.append(upload, body("bytes"), { offset: 5 });
    await uploads.commit(upload, digestOfBytes("some bytes"));
  });

  it("are limited; a quiet one makes room", async () => {
    await using opened = await open({ uploads: 2, uploadQuietMs: 1000_000 });
    const first = await opened.uploads.start(at);
    await opened.uploads.start(at);
    await assert.rejects(opened.uploads.start(at), registryCode("TOOMANYREQUESTS"));
    await opened.uploads.start({ ...at, namespace: "team" });
    await opened.uploads.cancel(first);
    await opened.uploads.start(at);

    await using room = await open({ uploads: 1, uploadQuietMs: 0 });
    const quiet = await room.uploads.start(at);
    await room.uploads.start(at);
    assert.throws(() => room.uploads.get(at, quiet.id), registryCode("BLOB_UPLOAD_UNKNOWN"));
  });

  it("belong to their repository", async () => {
    await using opened = await open();
    const { id } = await opened.uploads.start(at);
    for (const other of [{ ...at, namespace: "team" }, { ...at, repository: "a" }]) {
      assert.throws(() => opened.uploads.get(other, id), registryCode("BLOB_UPLOAD_UNKNOWN"));
    }
  });

  it("give up a body that does not come", async () => {
    await using opened = await open({ bodyTimeoutMs: 20 });
    const upload = await opened.uploads.start(at);
    const stalled = new ReadableStream<Uint8Array>({ start: (controller) => controller.enqueue(new Uint8Array(3)) });
    await assert.rejects(opened.uploads.append(upload, stalled), (error) => {
      assert.equal((error as { details?: { status?: number } }).details?.status, 408);
      return registryCode("BLOB_UPLOAD_INVALID")(error);
    });
    assert.equal(upload.offset, 3);
  });

  it("keep nothing of a blob that is larger than one may be", async () => {
    await using opened = await open({}, { limitBytes: 10 });
    const upload = await opened.uploads.start(at);
    await assert.rejects(opened.uploads.append(upload, body("more than ten bytes")), (error) => {
      assert.equal((error as { details?: { status?: number } }).details?.status, 413);
      return registryCode("SIZE_INVALID")(error);
    });
    assert.deepEqual(await opened.content.ingests(), []);
    assert.throws(() => opened.uploads.get(at, upload.id), registryCode("BLOB_UPLOAD_UNKNOWN"));
  });

  it("keep nothing on a disk that is full", async () => {
    await using opened = await open({}, { diskBytes: 2 << 20 });
    const upload = await opened.uploads.start(at);
    const large = new Blob([new Uint8Array(4 << 20)]).stream();
    await assert.rejects(opened.uploads.append(upload, large), (error) => {
      assert.equal(errorResponse(error).status, 507);
      return codeOf(error) === "resource_exhausted";
    });
    assert.deepEqual(await opened.content.ingests(), []);
    const next = await opened.uploads.start(at);
    await opened.uploads.append(next, body("there is room again"));
    await opened.uploads.commit(next, digestOfBytes("there is room again"));
  });

  it("let the next request take the place of one that stalls", async () => {
    await using opened = await open();
    const { uploads } = opened;
    const upload = await uploads.start(at);
    const stalled = new ReadableStream<Uint8Array>({ start: (controller) => controller.enqueue(new Uint8Array([97])) });
    const first = uploads.append(upload, stalled);
    await until(() => upload.offset === 1);
    const second = uploads.append(upload, body("bc"), { offset: 1, length: 2 });
    await assert.rejects(first, registryCode("BLOB_UPLOAD_INVALID"));
    assert.equal(await second, true);
    await uploads.commit(upload, digestOfBytes("abc"));
    assert.ok(opened.has(digestOfBytes("abc")));
  });

  it("are found by the next that open the store", async () => {
    await using opened = await open();
    const upload = await opened.uploads.start(at);
    await opened.uploads.append(upload, body("begun, "));
    await opened.uploads[Symbol.asyncDispose]();
    await using uploads = await opened.openUploads();
    assert.equal(uploads.get(at, upload.id).offset, 7);
    await uploads.append(upload, body("and ended"), { offset: 7 });
    const digest = digestOfBytes("begun, and ended");
    await uploads.commit(upload, digest);
    assert.ok((await opened.metadata.repositories.blobs(at, [digest])).has(digest));
  });
});

describe("a registry that is killed", () => {
  it("goes on with an upload where the disk has it, and has nothing of one that was given up", async () => {
    const folder = mkdtempSync(join(tmpdir(), "mayfly-uploads-"));
    const start = async () => {
      const daemon = await MayflyProcess.start(folder, ["--registry-listen", "127.0.0.1:0"], registryEnv);
      const host = await until(() => /listens on http:\/\/(\S+)\/v2\//.exec(daemon.log())?.[1]);
      return { daemon, client: new RegistryClient(host) };
    };
    try {
      const bytes = new Uint8Array(5 << 20).map((_, i) => i * 31 + (i >> 8));
      const digest = digestOfBytes(bytes);
      let location = "";
      let given = "";
      let broken = "";
      {
        const { daemon, client } = await start();
        await using _ = daemon;
        const begin = async () =>
          (await client.expect(202, "POST", "app/blobs/uploads/")).headers.get("location") ?? "";
        [location, given] = [await begin(), await begin()];
        await client.expect(202, "PATCH", location, { body: bytes.subarray(0, 4 << 20) });
        await client.expect(202, "PATCH", given, { body: bytes });
        await client.expect(204, "DELETE", given);
        // One more is in the middle of a body.
        broken = await begin();
        const [host = "", port] = client.host.split(":");
        const socket = connect(Number(port), host);
        socket.on("error", () => {});
        const authorization = `Basic ${btoa(`default:${tokens.default}`)}`;
        const head = [`PATCH ${broken} HTTP/1.1`, `Host: ${client.host}`, `Authorization: ${authorization}`];
        socket.write([...head, "Content-Length: 1000", "", "abc"].join("\r\n"));
        await until(async () => (await client.expect(204, "GET", broken)).headers.get("range") === "0-2");
        await daemon.end("SIGKILL");
        socket.destroy();
      }
      const { daemon, client } = await start();
      await using _ = daemon;
      await client.refuse(404, ["BLOB_UPLOAD_UNKNOWN"], "GET", given);
      const reached = (await client.expect(204, "GET", location)).headers.get("range");
      const offset = Number(/^0-(\d+)$/.exec(reached ?? "")?.[1]) + 1;
      assert.ok(offset > 1 && offset <= 4 << 20, reached ?? "none");
      await client.expect(202, "PATCH", location, {
        body: bytes.subarray(offset),
        headers: { "content-range": `${offset}-${bytes.length - 1}` },
      });
      await client.expect(201, "PUT", `${location}?digest=${digest}`);
      assert.equal(
        (await client.expect(200, "HEAD", `app/blobs/${digest}`)).headers.get("content-length"),
        String(5 << 20),
      );
      await client.expect(204, "DELETE", broken);
      assert.deepEqual(readdirSync(join(folder, "root/content/ingest")), []);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});
