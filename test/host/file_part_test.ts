import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readdirSync, readlinkSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { LocalContent } from "../../src/content/store.ts";
import type { Digest } from "../../src/core/digest.ts";
import type { Listener } from "../../src/core/host.ts";
import { currentHost } from "../../src/host/mod.ts";
import { until } from "../support/until.ts";

const size = (3 << 20) + 17;

describe("a response that is a part of a file", () => {
  let folder: string;
  let content: LocalContent;
  let digest: Digest;
  let listener: Listener;
  const bytes = new Uint8Array(size).map((_, i) => i * 7 + (i >> 9));
  let beforeAnswer = () => {};
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "mayfly-file-part-"));
    content = await LocalContent.open(join(folder, "content"));
    await put();
    const host = await currentHost();
    listener = await host.serve({ port: 0 }, async (request) => {
      const [offset = 0, length = 0] = new URL(request.url).pathname.split("/").slice(1).map(Number);
      const body = await content.read(digest, { offset, length });
      beforeAnswer();
      return new Response(body, { status: 206, headers: { "content-length": String(length), etag: '"x"' } });
    });
  });
  after(async () => {
    await listener?.close({ force: true });
    rmSync(folder, { recursive: true, force: true });
  });

  async function put(): Promise<void> {
    await using ingest = await content.writer("file");
    await ingest.write(bytes);
    digest = (await ingest.commit()).digest;
  }
  const path = () => join(folder, "content/blobs", digest.replace(":", "/"));
  /** Descriptors of this process that are of the file. */
  const open = () =>
    readdirSync("/proc/self/fd").filter((fd) => {
      try {
        return readlinkSync(`/proc/self/fd/${fd}`).startsWith(path());
      } catch {
        return false;
      }
    });
  const get = (offset: number, length: number) => fetch(`http://127.0.0.1:${listener.port}/${offset}/${length}`);

  for (const [offset, length] of [[0, size], [0, 1], [5, 2 << 20], [size - 3, 3], [17, 0]] as const) {
    it(`has its length and its bytes: ${length} from ${offset}`, async () => {
      const answer = await get(offset, length);
      assert.equal(answer.status, 206);
      assert.equal(answer.headers.get("content-length"), String(length));
      assert.equal(answer.headers.get("etag"), '"x"');
      assert.deepEqual(new Uint8Array(await answer.arrayBuffer()), bytes.subarray(offset, offset + length));
    });
  }

  it("comes though the file is removed meanwhile", async () => {
    beforeAnswer = () => rmSync(path());
    const answer = await get(0, size);
    assert.deepEqual(new Uint8Array(await answer.arrayBuffer()), bytes);
    beforeAnswer = () => {};
    assert.ok(!existsSync(path()));
    await put();
  });

  it("leaves no file open, whether it is read to its end or not", async () => {
    await (await get(0, size)).arrayBuffer();
    await until(() => open().length === 0);
    const socket = connect(listener.port ?? 0, "127.0.0.1");
    socket.on("error", () => {});
    socket.write(`GET /0/${size} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n`);
    await new Promise((resolve) => socket.once("data", resolve));
    socket.destroy();
    await until(() => open().length === 0);
  });
});
