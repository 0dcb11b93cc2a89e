import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { makeBusyboxImage } from "../support/busybox_image.ts";
import { mayfly, stateFlags } from "../support/mayfly_process.ts";
import { until } from "../support/until.ts";
import { World } from "../support/world.ts";

for (const runtime of ["crun", "runc"]) {
  describe(`--runtime ${runtime}`, () => {
    let world: World;

    before(async () => {
      world = await World.open({ runtime });
      await world.script("cat", "exec cat");
      await world.script("fail", "echo why >&2; exit 3");
      await world.script("slow", "echo begun; exec sleep 60", { timeoutMs: 300 });
      await world.script("large", "x=$(head -c 60000000 /dev/zero | tr '\\0' x); echo survived", {
        memoryBytes: 20 << 20,
      });
      await world.script("native", "echo native", { runtime: "native" });
    });

    after(async () => {
      await world[Symbol.asyncDispose]();
      assert.ok(!readFileSync("/proc/self/mounts", "utf8").includes(world.folder));
    });

    it("runs a function", async () => {
      const answer = await world.curl("/fn/cat", "--data-binary", "hello");
      assert.deepEqual([answer.status, answer.body], [200, "hello"]);
      const record = await world.record(answer);
      assert.deepEqual([record.status, record.exitCode], ["succeeded", 0]);
      assert.ok((record.memoryPeakBytes ?? 0) > 0);
    });

    it("carries a large body both ways", async () => {
      const body = "0123456789abcdef".repeat(1 << 16);
      const answer = await world.curl("/fn/cat", "--data-binary", body.slice(0, 100_000));
      assert.equal(answer.body.length, 100_000);
    });

    it("runs functions side by side with another runtime", async () => {
      const answers = await Promise.all(
        Array.from({ length: 8 }, (_, index) => world.curl(index % 2 === 0 ? "/fn/native" : "/fn/cat", "-d", "x")),
      );
      assert.deepEqual(answers.map(({ body }) => body.trim()), Array(4).fill(["native", "x"]).flat());
    });

    it("tells a failing command, a deadline, and a want of memory apart", async () => {
      const failing = await world.curl("/fn/fail");
      assert.equal(failing.status, 500);
      assert.equal((await world.last("fail")).exitCode, 3);
      assert.match((await world.last("fail")).stderr ?? "", /why/);
      await world.curl("/fn/slow");
      assert.equal((await world.last("slow")).status, "timeout");
      const large = await world.curl("/fn/large");
      assert.equal(large.status, 500);
      assert.match(large.body, /out.of.memory/i);
    });

    it("leaves nothing running", async () => {
      await until(async () => await world.running() === 0);
    });
  });

  it(`mayfly run --runtime ${runtime} runs a container, whose exit code is its own`, async () => {
    const folder = mkdtempSync(join(tmpdir(), "mayfly-oci-"));
    try {
      const flags = [...stateFlags(folder), "--runtime", runtime];
      const layout = makeBusyboxImage(folder, "box:1");
      assert.equal((await mayfly(["import", ...flags, layout, "--name", "box:1"])).code, 0);
      const ran = await mayfly(["run", ...flags, "-i", "box:1", "sh", "-c", "cat; echo err >&2; exit 7"], {
        input: "in",
      });
      assert.deepEqual([ran.code, ran.stdout, ran.stderr], [7, "in", "err\n"]);
      const missing = await mayfly(["run", ...flags, "box:1", "/nonesuch"]);
      assert.equal(missing.code, 127, missing.stderr);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
}
