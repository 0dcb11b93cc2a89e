import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { InvocationIds } from "../../src/functions/invocation_ids.ts";

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
