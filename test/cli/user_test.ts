import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { isRootless, rootlessMark, userFolders } from "../../src/cli/user.ts";

describe("userFolders()", () => {
  const table: readonly [environment: Readonly<Record<string, string>>, root: string, run: string, config: string][] = [
    [{ HOME: "/h" }, "/h/.local/share/mayfly", "/h/.local/share/mayfly/run", "/h/.config/mayfly"],
    [{ HOME: "/h", XDG_RUNTIME_DIR: "/r" }, "/h/.local/share/mayfly", "/r/mayfly", "/h/.config/mayfly"],
    [{ HOME: "/h", XDG_DATA_HOME: "/d", XDG_CONFIG_HOME: "/c" }, "/d/mayfly", "/d/mayfly/run", "/c/mayfly"],
    // The specification has relative paths ignored.
    [
      { HOME: "/h", XDG_DATA_HOME: "d", XDG_RUNTIME_DIR: "r" },
      "/h/.local/share/mayfly",
      "/h/.local/share/mayfly/run",
      "/h/.config/mayfly",
    ],
  ];
  for (const [environment, root, run, config] of table) {
    it(`has them for ${JSON.stringify(environment)}`, () => {
      assert.deepEqual(userFolders(environment), { root, run, config });
    });
  }
});

describe("isRootless()", () => {
  it("takes whoever has become root of a user namespace for the user", () => {
    assert.equal(isRootless({ [rootlessMark]: "1" }), true);
    assert.equal(isRootless({}), false);
  });
});
