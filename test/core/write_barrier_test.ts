import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { WriteBarrier } from "../../src/core/write_barrier.ts";

/** Whether a promise has resolved by the time that everything that can go on has gone on. */
async function settled(promise: Promise<unknown>): Promise<boolean> {
  let done = false;
  promise.then(() => done = true);
  await new Promise((resolve) => setTimeout(resolve, 0));
  return done;
}

describe("WriteBarrier", () => {
  it("watch() tells what is added until it is disposed", async () => {
    const barrier = new WriteBarrier();
    const told: string[] = [];
    await barrier.added(["content/before"]);
    {
      using _watch = barrier.watch((resource) => told.push(resource));
      await barrier.added(["content/a", "content/b"]);
    }
    await barrier.added(["content/after"]);
    assert.deepEqual(told, ["content/a", "content/b"]);
  });

  it("watch() tells what is pinned, before and later, and not what has been let go", async () => {
    const barrier = new WriteBarrier();
    const told: string[] = [];
    (await barrier.pin("content/gone"))[Symbol.dispose]();
    using _pin = await barrier.pin("content/a", "content/b");
    using _watch = barrier.watch((resource) => told.push(resource));
    using _other = await barrier.pin("content/c");
    assert.deepEqual(told, ["content/a", "content/b", "content/c"]);
  });

  it("added() waits for the end of a removal of the same thing, failed or not, and for no other", async () => {
    const barrier = new WriteBarrier();
    for (const error of [undefined, new Error("it cannot be removed")]) {
      const end = Promise.withResolvers<void>();
      const removal = barrier.remove("content/a", () => end.promise);
      const [same, other] = [barrier.added(["content/a"]), barrier.added(["content/b"])];
      assert.deepEqual([await settled(same), await settled(other)], [false, true]);
      if (error === undefined) end.resolve();
      else end.reject(error);
      if (error === undefined) await removal;
      else await assert.rejects(removal, error);
      assert.equal(await settled(same), true);
      assert.equal(await settled(barrier.added(["content/a"])), true);
    }
  });
});
