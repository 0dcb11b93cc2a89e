import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Phases } from "../../src/functions/phases.ts";

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
