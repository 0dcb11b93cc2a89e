import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { GrowingBytes } from "../../src/core/growing_bytes.ts";

describe("GrowingBytes", () => {
  it("joins pieces of any size", () => {
    const bytes = new GrowingBytes();
    const expected: number[] = [];
    for (let size = 0; size < 300; size++) {
      const piece = Uint8Array.from({ length: size }, (_, at) => at + size);
      bytes.push(piece);
      expected.push(...piece);
    }
    assert.equal(bytes.length, expected.length);
    assert.deepEqual([...bytes.bytes()], expected);
  });

  it("is empty at first", () => assert.deepEqual(new GrowingBytes().bytes(), new Uint8Array()));
});
