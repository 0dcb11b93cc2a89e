import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { deflateRawSync, gzipSync, zstdCompressSync } from "node:zlib";
import type { Digest } from "../../src/core/digest.ts";
import { Budget, defaultLimits } from "../../src/images/budget.ts";
import type { UnpackJob } from "../../src/images/unpack_job.ts";
import { UnpackThreads } from "../../src/images/unpack_threads.ts";
import { tarOf } from "./tar_bytes.ts";

const entry = new URL("../../src/unpack_thread.ts", import.meta.url);

for (const most of [1, 2, 4]) {
  describe(`threads that unpack, ${most} at most`, () => {
    const threads = new UnpackThreads(entry, most);
    const folder = mkdtempSync(join(tmpdir(), "mayfly-threads-"));
    const archive = tarOf(
      { path: "a/", type: "5" },
      { path: "a/file", content: "content", mode: 0o4755 },
      { path: "a/zeros", content: new Uint8Array(3 << 20) },
      { path: "a/link", type: "2", link: "file" },
    );
    let count = 0;
    const jobOf = (blob: Uint8Array, more: Partial<UnpackJob> = {}, limits = {}): UnpackJob => {
      const [path, file] = [join(folder, `layer-${count}`), join(folder, `blob-${count++}`)];
      mkdirSync(path);
      writeFileSync(file, blob);
      return {
        blob: file,
        diffId: `sha256:${createHash("sha256").update(archive).digest("hex")}` as Digest,
        folder: { path, whole: false, below: [] },
        budget: new Budget({ ...defaultLimits, ...limits }).state,
        ...more,
      };
    };
    const run = (job: UnpackJob, signal?: AbortSignal) => threads.run(job, () => {}, signal);
    after(() => rmSync(folder, { recursive: true, force: true }));

    for (
      const [form, blob] of Object.entries({ gzip: gzipSync(archive), zstd: zstdCompressSync(archive), plain: archive })
    ) {
      it(`make files of a layer: ${form}`, async () => {
        const job = jobOf(blob);
        assert.equal(await run(job), true);
        assert.equal(readFileSync(join(job.folder.path, "a/link"), "utf8"), "content");
      });
    }

    it("make an EROFS image of it", async () => {
      const job = jobOf(gzipSync(archive));
      const image = join(folder, "image");
      await run({ ...job, folder: { ...job.folder, image } });
      assert.equal(readFileSync(image).readUInt32LE(1024), 0xe0f5e1e2);
    });

    it("work at the same time, and one after the other where there are more layers than threads", async () => {
      const jobs = Array.from({ length: 7 }, () => jobOf(gzipSync(archive)));
      await Promise.all(jobs.map((job) => run(job)));
      for (const { folder } of jobs) assert.equal(readFileSync(join(folder.path, "a/file"), "utf8"), "content");
    });

    it("refuse what the main thread would, in the same words, and go on", async () => {
      await assert.rejects(run(jobOf(gzipSync(archive).subarray(0, 500))), { code: "data_loss", message: /cut short/ });
      await assert.rejects(run(jobOf(archive.subarray(0, 5000))), { code: "data_loss" });
      const other = `sha256:${"0".repeat(64)}` as Digest;
      await assert.rejects(run(jobOf(archive, { diffId: other })), {
        code: "data_loss",
        message: /configuration says/,
      });
      const out = tarOf({ path: "../out" });
      await assert.rejects(run(jobOf(out)), { code: "invalid_argument", message: /climbs out of the root/ });
      await assert.rejects(run(jobOf(archive, { blob: join(folder, "nothing") })), { message: /ENOENT|no such file/i });
      assert.equal(await run(jobOf(archive)), true);
    });

    it("count what an image takes together", async () => {
      const budget = new Budget({ ...defaultLimits, bytes: 5 << 20 });
      await run(jobOf(gzipSync(archive), { budget: budget.state }));
      const second = run(jobOf(gzipSync(archive), { budget: budget.state }));
      await assert.rejects(second, { code: "resource_exhausted", message: /more than 5242880 bytes unpacked/ });
    });

    it("stop where nobody wants it any more", async () => {
      // A gibibyte of nothing, in a member whose end does not come.
      const part = deflateRawSync(new Uint8Array(64 << 20), { finishFlush: 2 });
      const bomb = Buffer.concat([gzipSync(new Uint8Array()).subarray(0, 10), ...Array(64).fill(part)]);
      const abort = new AbortController();
      const running = run(jobOf(bomb), abort.signal);
      setTimeout(() => abort.abort(new Error("enough")), 50);
      await assert.rejects(running);
      assert.equal(await run(jobOf(archive)), true);
    });

    it("are none where there is no module for them", async () => {
      const none = new UnpackThreads(new URL("../../src/nothing.ts", import.meta.url));
      assert.equal(await none.run(jobOf(archive), () => {}), false);
      assert.equal(await none.run(jobOf(archive), () => {}), false);
    });
  });
}
