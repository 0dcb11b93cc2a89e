import assert from "node:assert/strict";
import type { SpecResources } from "../../../src/core/spec.ts";
import { demand } from "../../../src/core/task.ts";
import { code, type Fixture, MiB, Reader, write } from "./fixture.ts";

/** Limits that are changed while a task is there. */
export function updating(f: Fixture): void {
  const { it, sh, startWith } = f;
  const needs = { ability: "update", limits: true } as const;
  const look = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; " +
    "cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null; " +
    "cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2>/dev/null || cut -d' ' -f1 /sys/fs/cgroup/cpu.max";
  const looking = (settings: Parameters<typeof sh>[1]) =>
    startWith("update", sh(`while read x; do ${look}; done; exit 0`, settings));

  it("sets what it names and leaves the rest", async () => {
    const task = await looking({ settings: { memoryBytes: 64 * MiB, pids: 50, cpus: 0.5 } });
    const reader = new Reader(task.stdout);
    const limits = async () => {
      await write(task.stdin, "\n");
      return [Number(await reader.line()), Number(await reader.line()), Number(await reader.line())];
    };
    assert.deepEqual(await limits(), [64 * MiB, 50, 50_000]);
    await task.update({ memory: { limit: 96 * MiB, swap: 96 * MiB } });
    assert.deepEqual(await limits(), [96 * MiB, 50, 50_000]);
    await task.update({ pids: { limit: 20 }, cpu: { quota: 20_000, period: 100_000 } });
    assert.deepEqual(await limits(), [96 * MiB, 20, 20_000]);
    await reader.cancel();
  }, needs);

  it("lets it have a device more, and no other", async () => {
    // Drivers that are not there: the kernel says so to who may ask for them.
    const [first, second] = [1, 2].map((
      minor,
    ) => ({ path: `/dev/own${minor}`, type: "c", major: 240, minor } as const));
    assert.ok(first !== undefined && second !== undefined);
    const look = "while read x; do for d in 1 2; do dd if=/dev/own$d count=0 2>&1 | sed 's/.*: //'; done; done";
    const resources = { devices: [{ allow: false, access: "rwm" }] };
    const task = await startWith("update", sh(look, { linux: { devices: [first, second], resources } }));
    const reader = new Reader(task.stdout);
    const answers = async () => {
      await write(task.stdin, "\n");
      return [await reader.line(), await reader.line()];
    };
    const [denied, allowed] = ["Operation not permitted", "No such device or address"];
    assert.deepEqual(await answers(), [denied, denied]);
    await task.update({ devices: [{ allow: true, type: "c", major: 240, minor: 1, access: "r" }] });
    assert.deepEqual(await answers(), [allowed, denied]);
    await task.update({ devices: [{ allow: true, type: "c", major: 240, minor: 2, access: "r" }] });
    assert.deepEqual(await answers(), [allowed, allowed]);
    await reader.cancel();
  }, needs);

  it("holds a task to it", async () => {
    const task = await startWith("update", sh("read x; for i in 1 2 3 4 5 6 7 8; do sleep 5 & done; wait"));
    await task.update({ pids: { limit: 4 } });
    const reader = new Reader(task.stderr);
    await write(task.stdin, "\n");
    assert.match(await reader.until("fork"), /can't fork/);
    await reader.cancel();
  }, needs);

  it("refuses what the kernel refuses", async () => {
    const task = await looking({ settings: { memoryBytes: 64 * MiB } });
    const wrong: readonly SpecResources[] = [{ cpu: { quota: 1, period: 100_000 } }, { cpu: { cpus: "4000" } }];
    for (const resources of wrong) {
      await assert.rejects(
        task.update(resources),
        code("invalid_argument", "failed_precondition"),
        JSON.stringify(resources),
      );
    }
    assert.equal(task.status, "running");
  }, needs);

  it("works on a task that waits, and not on one that has ended", async () => {
    const task = demand(
      await f.runtime.create(sh("cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null")),
      "update",
    );
    await task.update({ pids: { limit: 33 } });
    await task.start();
    const reader = new Reader(task.stdout);
    assert.equal(await reader.line(), "33");
    await task.wait();
    await assert.rejects(task.update({ pids: { limit: 44 } }), code("failed_precondition"));
    await task.delete();
    await assert.rejects(task.update({ pids: { limit: 44 } }), code("failed_precondition"));
    await reader.cancel();
  }, needs);
}
