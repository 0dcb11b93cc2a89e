import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { codeOf } from "../../src/core/errors.ts";
import { resolveUser } from "../../src/tasks/accounts.ts";

const accounts = {
  passwd: [
    "# a comment: not an entry",
    "root:x:0:0:root:/root:/bin/sh",
    "web:x:1000:1001:Web:/srv/web:/bin/false",
    "2000:x:3000:3000::/named-by-number:",
    "broken",
    "huge:x:4294967295:0::/:",
    "web:x:7:7:second of this name:/elsewhere:",
    "short:x:5:6",
    "",
  ].join("\n"),
  group: ["root:x:0:", "adm:x:4:root,web", "web:x:1001:web", "www:x:33:web", "again:x:33:web", "bad:x::web"].join("\n"),
};

describe("resolveUser()", () => {
  const cases: readonly [text: string, uid: number, gid: number, additional: number[], home: string | undefined][] = [
    ["", 0, 0, [4], "/root"],
    ["root", 0, 0, [4], "/root"],
    ["0", 0, 0, [4], "/root"],
    ["web", 1000, 1001, [4, 33], "/srv/web"],
    ["1000", 1000, 1001, [4, 33], "/srv/web"],
    ["web:www", 1000, 33, [], "/srv/web"],
    ["web:12", 1000, 12, [], "/srv/web"],
    ["1000:0", 1000, 0, [], "/srv/web"],
    ["web:", 1000, 1001, [4, 33], "/srv/web"],
    [":www", 0, 33, [], "/root"],
    ["4242", 4242, 0, [], undefined],
    ["4242:4243", 4242, 4243, [], undefined],
    ["2000", 2000, 0, [], undefined],
    ["4294967294", 4294967294, 0, [], undefined],
    ["short", 5, 6, [], ""],
  ];
  for (const [text, uid, gid, additionalGids, home] of cases) {
    it(`finds ${JSON.stringify(text)}`, () => {
      assert.deepEqual(resolveUser(text, accounts), { user: { uid, gid, additionalGids }, home });
    });
  }

  for (const text of ["nobody", "web:nogroup", "1:2:3", "4294967295", "-1", "huge", "web:99999999999"]) {
    it(`refuses ${JSON.stringify(text)}`, () => {
      assert.throws(() => resolveUser(text, accounts), (error) => codeOf(error) === "invalid_argument");
    });
  }
});
