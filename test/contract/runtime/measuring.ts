import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { demand } from "../../../src/core/task.ts";
import { code, type Fixture, Reader } from "./fixture.ts";

/** What a task tells of its processes and resources. */
export function measuring(f: Fixture): void {
  const { it, sh, startWith } = f;

  it("stats() tells what it uses while it runs", async () => {
    const task = demand(
      await f.runtime.create(sh("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo; sleep 60")),
      "stats",
    );
    await assert.rejects(task.stats(), code("failed_precondition"));
    await task.start();
    const reader = new Reader(task.stdout);
    await reader.line();
    const stats = await task.stats();
    assert.ok((stats.cpuMicros ?? 0) > 0, `cpuMicros ${stats.cpuMicros}`);
    assert.ok((stats.memoryPeakBytes ?? 0) > 0, `memoryPeakBytes ${stats.memoryPeakBytes}`);
    assert.equal(stats.pids, 1);
    await reader.cancel();
    const exit = await task.delete();
    assert.ok((exit?.usage.cpuMicros ?? 0) >= (stats.cpuMicros ?? 0));
    await assert.rejects(task.stats(), code("failed_precondition"));
  }, { ability: "stats", limits: true });

  it("pids() names every process, as this machine knows them", async () => {
    const task = await startWith("stats", sh("sleep 60 & sleep 60 & echo ready; wait"));
    const reader = new Reader(task.stdout);
    await reader.line();
    const pids = await task.pids();
    assert.equal(pids.length, 3);
    assert.ok(task.pid !== undefined && pids.includes(task.pid));
    for (const pid of pids) assert.ok(existsSync(`/proc/${pid}`));
    await reader.cancel();
    await task.delete();
    for (const pid of pids) assert.ok(!existsSync(`/proc/${pid}`), `${pid} is there still`);
    await assert.rejects(task.pids(), code("failed_precondition"));
  }, { ability: "stats" });
}
