import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdir, mkdtemp, readdir, rm, stat, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { LocalContent } from "../../src/content/store.ts";
import type { ContentInfo, ExpectedContent } from "../../src/core/content.ts";
import type { Digest } from "../../src/core/digest.ts";

const sha256 = (bytes: Uint8Array): Digest => `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
const code = (wanted: string, pattern = /./) => (error: unknown) => {
  assert.equal((error as { code?: string }).code, wanted, (error as Error).message);
  assert.match((error as Error).message, pattern);
  return true;
};

/** Bytes that differ at every place, so that a misplaced chunk shows. */
function bytesOf(length: number, seed = 1): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  for (let at = 0, state = seed; at < length; at++) {
    state = (state * 1103515245 + 12345) & 0x7fffffff;
    bytes[at] = state >> 16;
  }
  return bytes;
}

describe("LocalContent", () => {
  let folder: string;
  let store: LocalContent;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "mayfly-content-"));
    store = await LocalContent.open(join(folder, "content"));
  });
  after(() => rm(folder, { recursive: true, force: true }));

  async function put(bytes: Uint8Array, expected: ExpectedContent = {}, ref = `put-${sha256(bytes)}`) {
    await using ingest = await store.writer(ref, expected);
    await ingest.write(bytes);
    return await ingest.commit();
  }

  async function all(stream: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<Uint8Array> {
    const chunks: Uint8Array[] = [];
    for await (const chunk of stream) chunks.push(chunk);
    return Buffer.concat(chunks);
  }

  it("commit() holds a blob to what its writer has learnt since it began", async () => {
    const bytes = bytesOf(3_000_000, 5);
    const sha512: Digest = `sha512:${createHash("sha512").update(bytes).digest("hex")}`;
    {
      await using ingest = await store.writer("learnt");
      await ingest.write(bytes);
      assert.equal((await ingest.commit({ digest: sha512, size: bytes.length })).digest, sha512);
    }
    assert.deepEqual(await store.bytes(sha512, bytes.length), bytes);
    for (const expected of [{ digest: sha512 }, { digest: sha256(bytes) }, { size: 4 }]) {
      await using ingest = await store.writer("learnt");
      assert.equal(ingest.offset, 0);
      await ingest.write(bytes.subarray(0, 5));
      await assert.rejects(ingest.commit(expected), code("failed_precondition"));
    }
  });

  it("commit() publishes what was written in chunks of any size", async () => {
    const bytes = bytesOf(3_500_001);
    const digest = sha256(bytes);
    await using ingest = await store.writer("chunks", { digest, size: bytes.length });
    let at = 0;
    for (let size = 1; at < bytes.length; size = size * 3 + 1) {
      await ingest.write(bytes.subarray(at, at + size));
      at += size;
    }
    const info = await ingest.commit();
    assert.deepEqual([info.digest, info.size], [digest, bytes.length]);
    assert.deepEqual(await store.info(digest).then(({ size }) => size), bytes.length);
    assert.equal(sha256(await all(await store.read(digest))), digest);
    assert.equal(sha256(await store.bytes(digest, bytes.length)), digest);
    assert.deepEqual(await store.ingests(), []);
  });

  it("commit() knows sha512", async () => {
    const digest: Digest = `sha512:${createHash("sha512").update("x").digest("hex")}`;
    await put(new TextEncoder().encode("x"), { digest });
    assert.equal(new TextDecoder().decode(await store.bytes(digest, 10)), "x");
  });

  it("commit() publishes an empty blob", async () => {
    await using ingest = await store.writer("empty");
    assert.equal((await ingest.commit()).size, 0);
  });

  for (
    const [what, expected, pattern] of [
      ["another digest", { digest: sha256(bytesOf(9)) }, /its digest is sha256:.*expected was sha256:/],
      ["too few bytes", { size: 200 }, /it has 100 bytes, expected were 200/],
    ] as const
  ) {
    it(`commit() refuses ${what} and drops the ingest`, async () => {
      await assert.rejects(put(bytesOf(100, 7), expected, "wrong"), code("failed_precondition", pattern));
      assert.deepEqual(await store.ingests(), []);
      await assert.rejects(store.info(sha256(bytesOf(100, 7))), code("not_found"));
    });
  }

  it("write() refuses bytes over the expected size", async () => {
    {
      await using ingest = await store.writer("over", { size: 10 });
      await ingest.write(bytesOf(10));
      await assert.rejects(ingest.write(bytesOf(1)), code("resource_exhausted", /more than the 10 bytes/));
    }
    await store.abort("over");
  });

  it("write() refuses bytes over the limit of a blob", async () => {
    const small = await LocalContent.open(join(folder, "small"), { limitBytes: 5 });
    await assert.rejects(small.writer("big", { size: 6 }), code("resource_exhausted"));
    await using ingest = await small.writer("big");
    await assert.rejects(ingest.write(bytesOf(6)), code("resource_exhausted", /5 bytes, the limit of a blob/));
  });

  it("writer() goes on at the byte that was reached", async () => {
    const bytes = bytesOf(2_000_000, 3);
    const digest = sha256(bytes);
    {
      await using ingest = await store.writer("resume", { digest, size: bytes.length });
      await ingest.write(bytes.subarray(0, 1_234_567));
    }
    assert.deepEqual((await store.ingests()).map(({ ref, offset }) => [ref, offset]), [["resume", 1_234_567]]);
    const reopened = await LocalContent.open(join(folder, "content"));
    await using ingest = await reopened.writer("resume", { digest, size: bytes.length });
    assert.equal(ingest.offset, 1_234_567);
    await ingest.write(bytes.subarray(ingest.offset));
    assert.equal((await ingest.commit()).digest, digest);
  });

  it("a small blob has no folder while it comes, and one where it is left unfinished", async () => {
    const bytes = bytesOf(1_500_000, 18);
    const expected = { digest: sha256(bytes), size: bytes.length };
    {
      await using ingest = await store.writer("small", expected);
      await ingest.write(bytes.subarray(0, 1_200_000));
      assert.deepEqual(await store.ingests(), []);
    }
    assert.deepEqual((await store.ingests()).map(({ ref, offset }) => [ref, offset]), [["small", 1_200_000]]);
    {
      await using ingest = await store.writer("small", expected);
      assert.equal(ingest.offset, 1_200_000);
      await ingest.write(bytes.subarray(ingest.offset));
      await ingest.commit();
    }
    assert.equal(sha256(await store.bytes(expected.digest, bytes.length)), expected.digest);
    assert.deepEqual(await readdir(join(folder, "content/ingest")), []);
  });

  it("commit() of a small blob at once leaves nothing but the blob, and of a wrong one nothing at all", async () => {
    const bytes = bytesOf(1_500_000, 19);
    const expected = { digest: sha256(bytes), size: bytes.length };
    await assert.rejects(put(bytesOf(1_500_000, 20), expected, "at once"), code("failed_precondition"));
    assert.deepEqual(await readdir(join(folder, "content/ingest")), []);
    // What a crash left of it.
    await writeFile(join(folder, `content/ingest/${createHash("sha256").update("at once").digest("hex")}.new`), "rest");
    await put(bytes, expected, "at once");
    assert.equal(sha256(await store.bytes(expected.digest, bytes.length)), expected.digest);
    assert.deepEqual(await readdir(join(folder, "content/ingest")), []);
  });

  it("truncate() starts again at offset 0", async () => {
    const bytes = bytesOf(1_500_000, 4);
    await using ingest = await store.writer("truncate");
    await ingest.write(bytesOf(1_200_000, 5));
    await ingest.truncate();
    assert.equal(ingest.offset, 0);
    await ingest.write(bytes);
    assert.equal((await ingest.commit()).digest, sha256(bytes));
  });

  it("writer() refuses a second writer of a ref, until the first is done", async () => {
    {
      await using _first = await store.writer("held");
      await assert.rejects(store.writer("held"), code("unavailable", /another writer/));
      await assert.rejects(store.abort("held"), code("unavailable"));
    }
    await store.abort("held");
    await assert.rejects(store.abort("held"), code("not_found"));
  });

  it("writer() says that the blob is there", async () => {
    const { digest } = await put(bytesOf(50, 8));
    await assert.rejects(store.writer("again", { digest }), code("already_exists"));
    assert.deepEqual(await store.ingests(), []);
  });

  it("commit() takes the same blob from many writers at once", async () => {
    const bytes = bytesOf(300_000, 9);
    const infos = await Promise.all(Array.from({ length: 8 }, (_, n) => put(bytes, {}, `same-${n}`)));
    assert.deepEqual(new Set(infos.map(({ digest }) => digest)), new Set([sha256(bytes)]));
    assert.deepEqual(await store.ingests(), []);
  });

  it("write() refuses to run beside an unfinished one, and after commit()", async () => {
    await using ingest = await store.writer("sequence");
    const first = ingest.write(bytesOf(2_000_000));
    await assert.rejects(ingest.write(bytesOf(1)), code("failed_precondition", /await it/));
    await first;
    await ingest.commit();
    await assert.rejects(ingest.write(bytesOf(1)), code("failed_precondition", /closed/));
  });

  it("read() gives a part of a blob", async () => {
    const bytes = bytesOf(1_300_000, 10);
    const { digest } = await put(bytes);
    for (const [offset, length] of [[0, 10], [600_000, 600_000], [1_299_999, 500], [1_300_000, 1], [5, 0]] as const) {
      const part = await all(await store.read(digest, { offset, length }));
      assert.equal(Buffer.compare(part, bytes.subarray(offset, offset + length)), 0);
    }
    await assert.rejects(store.read(digest, { offset: 1_300_001 }), code("invalid_argument"));
    await assert.rejects(store.read(digest, { offset: -1 }), code("invalid_argument"));
  });

  it("read() can be cancelled", async () => {
    const { digest } = await put(bytesOf(1_300_000, 10), {}, "cancel");
    const reader = (await store.read(digest)).getReader();
    await reader.read();
    await reader.cancel();
  });

  it("bytes() finds damaged and refuses large blobs", async () => {
    const { digest } = await put(bytesOf(1000, 11));
    await assert.rejects(store.bytes(digest, 999), code("resource_exhausted", /1000 bytes, the limit is 999/));
    await writeFile(join(folder, "content/blobs/sha256", digest.slice(7)), bytesOf(1000, 12));
    await assert.rejects(store.bytes(digest, 1000), code("data_loss", /pull it again/));
  });

  it("delete() removes a blob", async () => {
    const { digest } = await put(bytesOf(20, 13));
    await store.delete(digest);
    await assert.rejects(store.delete(digest), code("not_found"));
    await assert.rejects(store.info(digest), code("not_found"));
    await assert.rejects(store.bytes(digest, 1), code("not_found"));
    await assert.rejects(store.read(digest), code("not_found"));
  });

  it("refuses what is no digest, as a path", async () => {
    await assert.rejects(store.info("sha256:../../etc/passwd" as Digest), code("invalid_argument"));
  });

  it("list() and ingests() pass over what is none", async () => {
    const { digest } = await put(bytesOf(30, 14));
    await writeFile(join(folder, "content/blobs/sha256/README"), "");
    await mkdir(join(folder, "content/blobs/sha256", "0".repeat(64)));
    await mkdir(join(folder, "content/ingest/half-made"));
    await writeFile(join(folder, "content/ingest/stray"), "");
    const found: ContentInfo[] = [];
    for await (const info of store.list()) found.push(info);
    assert.ok(found.some((info) => info.digest === digest && info.size === 30));
    assert.ok(!found.some((info) => info.digest.endsWith("0000")));
    assert.deepEqual(await store.ingests(), []);
  });

  it("list() gives those that are wanted", async () => {
    const [wanted, other] = [(await put(bytesOf(31, 14))).digest, (await put(bytesOf(32, 14))).digest];
    const asked: Digest[] = [];
    const found = await Array.fromAsync(store.list((digest) => {
      asked.push(digest);
      return digest === wanted;
    }));
    assert.deepEqual(found.map(({ digest }) => digest), [wanted]);
    assert.ok(asked.includes(other));
  });

  it("open() removes what a crash left of an ingest without a name", async () => {
    await mkdir(join(folder, "content/ingest/unnamed"));
    await LocalContent.open(join(folder, "content"));
    assert.ok(!(await readdir(join(folder, "content/ingest"))).includes("unnamed"));
  });

  it("writer() takes a blob again that has lost bytes on disk", async () => {
    const bytes = bytesOf(5000, 16);
    const { digest } = await put(bytes);
    await truncate(join(folder, "content/blobs/sha256", digest.slice(7)), 100);
    await put(bytes, { digest, size: bytes.length });
    assert.equal((await store.bytes(digest, 5000)).length, 5000);
  });

  it("a full disk is an error with a cure, and publishes nothing", async (t) => {
    const disk = join(folder, "disk");
    await mkdir(disk);
    try {
      execFileSync("mount", ["-t", "tmpfs", "-o", "size=3m,mode=0700", "tmpfs", disk], { stdio: "ignore" });
    } catch {
      return t.skip("a small filesystem cannot be mounted: needs root");
    }
    try {
      const full = await LocalContent.open(disk);
      const bytes = bytesOf(8_000_000, 17);
      {
        await using ingest = await full.writer("full", { digest: sha256(bytes), size: bytes.length });
        await assert.rejects(ingest.write(bytes), (error: unknown) => {
          assert.equal((error as { errno?: string }).errno, "ENOSPC");
          return code("resource_exhausted", /the disk is full: remove images/)(error);
        });
        await assert.rejects(ingest.write(bytesOf(1)), code("failed_precondition", /an earlier write failed/));
        await assert.rejects(ingest.commit(), code("failed_precondition", /an earlier write failed/));
      }
      await assert.rejects(full.info(sha256(bytes)), code("not_found"));
      await full.abort("full");
      assert.equal(
        (await full.writer("small").then(async (ingest) => {
          await ingest.write(bytesOf(100));
          return await ingest.commit();
        })).size,
        100,
      );
    } finally {
      execFileSync("umount", [disk]);
    }
  });

  it("keeps its files to their owner, whatever the umask", async () => {
    const umask = process.umask(0);
    try {
      const open = await LocalContent.open(join(folder, "modes"));
      await using ingest = await open.writer("modes", { size: 2 });
      await ingest.write(bytesOf(1));
      await using other = await open.writer("other");
      const { digest } = await other.commit();
      const mode = async (name: string) => (await stat(join(folder, "modes", name))).mode & 0o777;
      for (const name of ["", "blobs", "blobs/sha256", "ingest"]) assert.equal(await mode(name), 0o700, name);
      assert.equal(await mode(`blobs/sha256/${digest.slice(7)}`), 0o600);
      const id = createHash("sha256").update("modes").digest("hex");
      for (const name of await readdir(join(folder, "modes/ingest", id))) {
        assert.equal(await mode(join("ingest", id, name)), 0o600, name);
      }
    } finally {
      process.umask(umask);
    }
  });
});
