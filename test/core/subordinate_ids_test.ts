import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { parseSubordinateIds } from "../../src/core/subordinate_ids.ts";

describe("parseSubordinateIds()", () => {
  it("reads whole lines, and passes over what is none", () => {
    const text = "ann:100000:65536\n# bob:1:2\n1001:165536:65536\nbroken:x:1\nlate:1\n:7:7\n";
    assert.deepEqual(parseSubordinateIds(text), [
      { owner: "ann", first: 100_000, size: 65_536 },
      { owner: "1001", first: 165_536, size: 65_536 },
    ]);
  });
});
