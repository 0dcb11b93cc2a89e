import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { demand } from "../../../src/core/task.ts";
import { until } from "../../support/until.ts";
import { code, type Fixture, Reader } from "./fixture.ts";

/** Freezing and thawing. */
export function pausing(f: Fixture): void {
  const { it, sh, run, specOf, startWith } = f;
  const needs = { ability: "pause" } as const;
  const busy = () => startWith("pause", sh("echo ready; while :; do :; done"));

  it("stops every process, and lets it go on", async () => {
    const task = await busy();
    const reader = new Reader(task.stdout);
    await reader.line();
    await task.pause();
    assert.equal(task.status, "paused");
    const before = ranNanos(task.pid);
    // Time in which it would have run.
    await run(sh("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"));
    assert.equal(ranNanos(task.pid), before);
    await task.resume();
    assert.equal(task.status, "running");
    await until(() => Promise.resolve(ranNanos(task.pid) > before));
    await reader.cancel();
    assert.equal((await task.delete())?.signal, 9);
  }, needs);

  it("refuses a state that it cannot work on", async () => {
    const created = demand(await f.runtime.create(sh("exit 0")), "pause");
    await assert.rejects(created.pause(), code("failed_precondition"));
    await assert.rejects(created.resume(), code("failed_precondition"));
    await created.start();
    await created.wait();
    await assert.rejects(created.pause(), code("failed_precondition"));
    await assert.rejects(created.resume(), code("failed_precondition"));
    const running = await startWith("pause", specOf(["sleep", "60"]));
    await assert.rejects(running.resume(), code("failed_precondition"));
    await running.pause();
    await assert.rejects(running.pause(), code("failed_precondition"));
    await assert.rejects(running.start(), code("failed_precondition"));
    assert.equal(running.status, "paused");
  }, needs);

  it("a paused task can be deleted", async () => {
    const task = await startWith("pause", specOf(["sleep", "60"]));
    await task.pause();
    assert.equal((await task.delete())?.signal, 9);
  }, needs);

  it("a signal to a paused task comes when it goes on, at the latest", async () => {
    const task = await startWith("pause", sh("trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done"));
    const reader = new Reader(task.stdout);
    await reader.line();
    await task.pause();
    await task.kill(15);
    await task.resume().catch(() => {});
    assert.equal((await task.wait()).code, 7);
    await reader.cancel();
  }, needs);

  it("tells of it", async () => {
    const options = specOf(["sleep", "60"]);
    const events = await f.eventsOf(options.id, async () => {
      const task = await startWith("pause", options);
      await task.pause();
      await task.resume();
      await task.delete();
    });
    assert.deepEqual(events.map(({ type }) => type), ["create", "start", "paused", "resumed", "exit", "delete"]);
  }, needs);
}

/** How long a process has run so far. @see https://docs.kernel.org/scheduler/sched-stats.html */
function ranNanos(pid: number | undefined): bigint {
  return BigInt(readFileSync(`/proc/${pid}/schedstat`, "utf8").split(" ")[0] ?? "0");
}
