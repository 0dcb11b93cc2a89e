import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { DetachKeys, parseDetachKeys } from "../../src/cli/detach_keys.ts";

describe("DetachKeys", () => {
  it("holds back what may be the beginning, and sends it where it was not", () => {
    const keys = new DetachKeys(parseDetachKeys("ctrl-p,ctrl-q"));
    const filter = (...bytes: number[]) => {
      const { send, detached } = keys.filter(new Uint8Array(bytes));
      return [[...send], detached];
    };
    assert.deepEqual(filter(97, 16), [[97], false]);
    assert.deepEqual(filter(98), [[16, 98], false]);
    assert.deepEqual(filter(16, 16), [[16], false]);
    assert.deepEqual(filter(17, 97), [[], true]);
  });

  it("parses keys, and refuses what is none", () => {
    assert.deepEqual(parseDetachKeys("ctrl-a,b,ctrl-\\"), [1, 98, 28]);
    for (const text of ["", "ctrl-", "ctrl-1", "abc"]) {
      assert.throws(() => parseDetachKeys(text), { code: "invalid_argument" }, text);
    }
  });
});
