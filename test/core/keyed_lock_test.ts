import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { KeyedLock } from "../../src/core/keyed_lock.ts";

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
