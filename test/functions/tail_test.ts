import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Tail } from "../../src/functions/tail.ts";

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
