import assert from "node:assert/strict";
import type { TaskEvent } from "../../../src/core/runtime.ts";
import { type Fixture, MiB } from "./fixture.ts";

const types = (events: readonly TaskEvent[]) => events.map(({ type }) => type);

/** What a runtime tells of its tasks. */
export function events(f: Fixture): void {
  const { it, sh, specOf, run } = f;

  it("come in order, each once", async () => {
    const options = sh("exit 3");
    let pid: number | undefined;
    const told = await f.eventsOf(options.id, async () => {
      const task = await f.runtime.create(options);
      await task.start();
      pid = task.pid;
      await task.wait();
      await task.delete();
      await task.delete();
    });
    assert.deepEqual(types(told), ["create", "start", "exit", "delete"]);
    const [, start, exit, end] = told;
    assert.ok(start?.type === "start" && start.pid === pid);
    assert.ok(exit?.type === "exit" && exit.exit.code === 3 && exit.exit.signal === undefined && exit.pid === pid);
    assert.ok(end?.type === "delete" && end.exit?.code === 3);
    for (const [index, { at }] of told.entries()) assert.ok(index === 0 || at >= (told[index - 1]?.at ?? at));
  });

  it("of a task that is never started are two", async () => {
    const options = specOf(["true"]);
    const told = await f.eventsOf(options.id, async () => {
      await (await f.runtime.create(options)).delete();
    });
    assert.deepEqual(types(told), ["create", "delete"]);
    const end = told.at(-1);
    assert.ok(end?.type === "delete" && end.exit === undefined);
  });

  it("are as many for many at once", async () => {
    const told: TaskEvent[] = [];
    const stop = f.runtime.events((event) => told.push(event));
    const all = Array.from({ length: 8 }, (_, index) => sh(`exit ${index}`));
    await Promise.all(all.map((options) => run(options)));
    stop();
    for (const [index, { id }] of all.entries()) {
      const mine = told.filter((event) => event.id === id);
      assert.deepEqual(types(mine), ["create", "start", "exit", "delete"]);
      assert.ok(mine[2]?.type === "exit" && mine[2].exit.code === index);
    }
    await run(sh("true"));
    assert.equal(told.length, 4 * all.length, "it was told after it had stopped listening");
  });

  it("tell of a want of memory before the end", async () => {
    const options = sh("exec dd if=/dev/zero of=/dev/shm/x bs=1M count=60", { settings: { memoryBytes: 16 * MiB } });
    const told = await f.eventsOf(options.id, async () => {
      await run(options);
    });
    assert.deepEqual([...new Set(types(told))], ["create", "start", "oom", "exit", "delete"]);
  }, { limits: true });
}
