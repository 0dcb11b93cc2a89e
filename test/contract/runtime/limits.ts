import assert from "node:assert/strict";
import { type Fixture, MiB } from "./fixture.ts";

/** What a container may use, and what is told of it. */
export function limits(f: Fixture): void {
  const { it, sh, run, output } = f;
  it("tells that memory ran out", async () => {
    const changes = { settings: { memoryBytes: 16 * MiB } };
    const { exit } = await run(sh("exec dd if=/dev/zero of=/dev/shm/x bs=1M count=60", changes));
    assert.equal(exit.oomKilled, true);
    assert.equal(exit.code, 137);
    assert.ok((exit.usage.memoryPeakBytes ?? 0) > 15 * MiB);
    assert.equal((await run(sh("true", changes))).exit.oomKilled, false);
  }, { limits: true });

  it("counts the scratch layer as memory", async () => {
    const rootfs = { ...f.scratch, scratch: { sizeBytes: 200 * MiB } };
    const options = sh("exec dd if=/dev/zero of=/x bs=1M count=60", { settings: { memoryBytes: 16 * MiB } });
    assert.equal((await run({ ...options, rootfs })).exit.oomKilled, true);
  }, { limits: true });

  it("holds back more processes than allowed", async () => {
    const script = "for i in 1 2 3 4 5 6 7 8; do sleep 5 & done; wait";
    const { exit, stderr } = await run(sh(script, { settings: { pids: 4 } }));
    assert.notEqual(exit.code, 0);
    assert.match(stderr, /can't fork/);
  }, { limits: true });

  it("tells of one that has no memory to begin with", async () => {
    // Whether it is refused, or killed as soon as it begins.
    const outcome = await run(sh("true", { linux: { resources: { memory: { limit: 4096, swap: 4096 } } } }))
      .then(({ exit }) => exit.oomKilled || exit.signal !== undefined || exit.code !== 0, () => true);
    assert.ok(outcome, "it ran");
    assert.deepEqual(f.runtime.tasks(), []);
  }, { limits: true });

  it("limits processor time", async () => {
    const script = "cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu.max 2>/dev/null; true";
    assert.match(await output(script, { settings: { cpus: 0.5 } }), /^50000/);
  }, { limits: true });
}
