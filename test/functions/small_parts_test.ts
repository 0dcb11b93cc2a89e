import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { InvocationIds } from "../../src/functions/invocation_ids.ts";
import { KeyedLock } from "../../src/functions/keyed_lock.ts";
import { Phases } from "../../src/functions/phases.ts";
import { Tail } from "../../src/functions/tail.ts";

describe("InvocationIds", () => {
  it("next() is unique, and sorts by time", () => {
    const ids = new InvocationIds();
    const made = Array.from({ length: 5000 }, (_, i) => ids.next(1_700_000_000_000 + i));
    assert.equal(new Set(made).size, made.length);
    assert.deepEqual(made.toSorted(), made);
    assert.equal(new Set(Array.from({ length: 5000 }, () => ids.next(1))).size, 5000);
    for (const id of made.slice(0, 10)) assert.match(id, /^[0-9a-z]{26}$/);
  });

  it("next() writes the time as ULID does", () => {
    assert.equal(new InvocationIds().next(1469918176385).slice(0, 10), "01aryz6s41");
  });
});

describe("Phases", () => {
  it("mark() leaves no gap", () => {
    const phases = new Phases();
    phases.mark("one");
    phases.mark("two");
    const [one, two] = phases.list;
    assert.ok(one && two);
    assert.equal(one.startMs, 0);
    assert.equal(two.startMs, one.durationMs);
    assert.match(phases.serverTiming(), /^one;dur=[\d.]+, two;dur=[\d.]+$/);
  });
});

describe("Tail", () => {
  const encode = (text: string) => new TextEncoder().encode(text);
  for (
    const [chunks, wanted] of [
      [[], undefined],
      [["abc"], "abc"],
      [["abc", "def", "ghi", "jkl"], "efghijkl"],
      [["abcdefghijkl"], "efghijkl"],
      [["a", "bcdefghijkl", "m"], "fghijklm"],
    ] as const
  ) {
    it(`text() of ${JSON.stringify(chunks)}`, () => {
      const tail = new Tail(8);
      for (const chunk of chunks) tail.push(encode(chunk));
      assert.equal(tail.text(), wanted);
    });
  }
});

describe("KeyedLock", () => {
  it("hold() runs one after the other, and goes on behind a failure", async () => {
    const lock = new KeyedLock();
    const order: string[] = [];
    const step = (name: string, ms: number) => async () => {
      order.push(`${name} begins`);
      await new Promise((resolve) => setTimeout(resolve, ms));
      order.push(`${name} ends`);
      if (name === "one") throw new Error("one fails");
    };
    const one = lock.hold("key", step("one", 5));
    const two = lock.hold("key", step("two", 0));
    await assert.rejects(one, /one fails/);
    await two;
    assert.deepEqual(order, ["one begins", "one ends", "two begins", "two ends"]);
  });
});
