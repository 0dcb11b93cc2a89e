import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Failure } from "../../src/core/errors.ts";
import { WriteBehind } from "../../src/metadata/write_behind.ts";

interface Item {
  readonly key: string;
  readonly value: number;
}
const item = (n: number, value = n): Item => ({ key: String(n), value });

/** Records that are written into an array. */
function open(options: { write?: (items: readonly Item[]) => Promise<void>; bound?: number } = {}) {
  const batches: (readonly Item[])[] = [];
  const trouble: string[] = [];
  const waiting = new WriteBehind<Item>({
    keyOf: ({ key }) => key,
    slice: 4,
    onTrouble: (text) => trouble.push(text),
    ...options,
    async write(items) {
      await options.write?.(items);
      batches.push(items);
    },
  });
  return { waiting, batches, trouble, written: () => batches.flat().map(({ value }) => value) };
}

describe("WriteBehind", () => {
  it("writes slices, the latest record of a key only", async () => {
    const { waiting, batches, written } = open();
    for (let n = 0; n < 10; n++) waiting.put(item(n));
    waiting.put(item(3, 33));
    await waiting.flush();
    assert.ok(batches.every(({ length }) => length <= 4));
    assert.deepEqual(written(), [0, 1, 2, 4, 5, 6, 7, 8, 9, 33]);
    assert.deepEqual(waiting.values(), []);
  });

  it("keeps a record that takes the place of one that is being written", async () => {
    const { waiting, written } = open({
      write: async () => {
        if (written().length === 0 && waiting.get("1")?.value === 1) waiting.put(item(1, 11));
        await Promise.resolve();
      },
    });
    waiting.put(item(1));
    await waiting.flush();
    assert.deepEqual(written(), [1, 11]);
  });

  it("writes without being told to", async () => {
    const done = Promise.withResolvers<void>();
    const { waiting } = open({ write: () => Promise.resolve(done.resolve()) });
    waiting.put(item(1));
    await done.promise;
  });

  it("flush() fails while the database is not available, and nothing is lost", async () => {
    let broken = true;
    const { waiting, written, trouble } = open({
      write: () => broken ? Promise.reject(new Failure("unavailable", "locked")) : Promise.resolve(),
    });
    for (let n = 0; n < 6; n++) waiting.put(item(n));
    for (let n = 0; n < 2; n++) await assert.rejects(waiting.flush(), { code: "unavailable" });
    assert.equal(waiting.values().length, 6);
    broken = false;
    await waiting.flush();
    assert.deepEqual([written(), trouble], [[0, 1, 2, 3, 4, 5], ["locked; trying again"]]);
  });

  it("gives up the one record that cannot be stored, and writes the others", async () => {
    const { waiting, written, trouble } = open({
      write: (items) => items.some(({ value }) => value === 5) ? Promise.reject(new Error("bad")) : Promise.resolve(),
    });
    for (let n = 0; n < 9; n++) waiting.put(item(n));
    await waiting.flush();
    assert.deepEqual([written(), trouble], [[0, 1, 2, 3, 4, 6, 7, 8], ["one is given up: bad"]]);
  });

  it("gives up the oldest past its bound, and what is left when it is closed", async () => {
    const { waiting, trouble } = open({ bound: 3, write: () => Promise.reject(new Failure("unavailable", "locked")) });
    for (let n = 0; n < 5; n++) waiting.put(item(n));
    assert.deepEqual(waiting.values().map(({ value }) => value), [2, 3, 4]);
    await assert.rejects(waiting[Symbol.asyncDispose](), { code: "unavailable" });
    assert.deepEqual(trouble, [
      "more than 3 wait, the oldest are given up",
      "locked; trying again",
      "3 are given up: the database is closed",
    ]);
  });
});
