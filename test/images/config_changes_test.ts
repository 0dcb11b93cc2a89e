import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { changeConfig } from "../../src/images/config_changes.ts";

describe("changeConfig", () => {
  it("takes no longer for blanks in a change than for anything else", () => {
    const change = ` \tuser \t a${" ".repeat(16_000)}\n`;
    // Each of them once took a tenth of a second and more.
    const changes = new Array<string>(1000).fill(change);
    assert.deepEqual(changeConfig({}, changes)["User"], "a");
    const twisted = new Array<string>(1000).fill(`onbuild a${" ".repeat(16_000)}b`);
    assert.deepEqual(changeConfig({}, twisted.slice(0, 1))["OnBuild"], [twisted[0]?.slice("onbuild ".length)]);
    assert.equal((changeConfig({}, twisted)["OnBuild"] as readonly string[]).length, 1000);
  });
});
