import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { parseChunkRange, parseRange } from "../../src/registry/range.ts";

describe("parseRange()", () => {
  const cases: readonly [string | null, number, ReturnType<typeof parseRange>][] = [
    [null, 10, undefined],
    ["bytes=0-9", 10, { offset: 0, length: 10 }],
    ["bytes=3-", 10, { offset: 3, length: 7 }],
    ["bytes=-4", 10, { offset: 6, length: 4 }],
    ["bytes=-40", 10, { offset: 0, length: 10 }],
    ["bytes=5-100", 10, { offset: 5, length: 5 }],
    ["bytes=10-", 10, "unsatisfiable"],
    ["bytes=5-4", 10, "unsatisfiable"],
    ["bytes=-0", 10, "unsatisfiable"],
    ["bytes=0-0", 0, "unsatisfiable"],
    ["bytes=-", 10, undefined],
    ["bytes=a-b", 10, undefined],
    ["bytes=0-1,3-4", 10, undefined],
    ["bytes=0-9999999999999999999999", 10, undefined],
  ];
  for (const [header, size, wanted] of cases) {
    it(`reads ${header} of ${size} bytes`, () => assert.deepEqual(parseRange(header, size), wanted));
  }
});

describe("parseChunkRange()", () => {
  const cases: readonly [string, ReturnType<typeof parseChunkRange>][] = [
    ["0-9", { offset: 0, length: 10 }],
    ["bytes 5-5/10", { offset: 5, length: 1 }],
    ["bytes=5-9/*", { offset: 5, length: 5 }],
    ["9-5", undefined],
    ["5-", undefined],
    ["-5", undefined],
    ["0-99999999999999999999", undefined],
  ];
  for (const [header, wanted] of cases) {
    it(`reads ${header}`, () => assert.deepEqual(parseChunkRange(header), wanted));
  }
});
