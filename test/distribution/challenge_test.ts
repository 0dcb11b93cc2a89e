import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { parseChallenges } from "../../src/distribution/challenge.ts";

describe("parseChallenges()", () => {
  const table: readonly [
    header: string,
    challenges: readonly [scheme: string, parameters: Record<string, string>][],
  ][] = [
    ["", []],
    [" , ,", []],
    ["Basic", [["basic", {}]]],
    ['Basic realm="a"', [["basic", { realm: "a" }]]],
    ["BASIC Realm=a", [["basic", { realm: "a" }]]],
    ['Bearer realm="https://x/t",service="s",scope="repository:a/b:pull,push"', [
      ["bearer", { realm: "https://x/t", service: "s", scope: "repository:a/b:pull,push" }],
    ]],
    ['Bearer realm = "x" , scope = y', [["bearer", { realm: "x", scope: "y" }]]],
    ['Basic realm="a", Bearer realm="b", x=y', [["basic", { realm: "a" }], ["bearer", { realm: "b", x: "y" }]]],
    ["Negotiate YII==, Basic realm=a", [["negotiate", {}], ["basic", { realm: "a" }]]],
    ["Negotiate, Bearer realm=a", [["negotiate", {}], ["bearer", { realm: "a" }]]],
    ['Bearer realm="a \\"b\\" \\\\c, Basic"', [["bearer", { realm: 'a "b" \\c, Basic' }]]],
    ['Bearer realm="a",realm="b"', [["bearer", { realm: "a" }]]],
    ['Bearer realm="a', [["bearer", {}]]],
    ["Bearer realm=", [["bearer", {}]]],
    ["=x, Bearer realm=a", []],
    ['Basic realm="a", "b"', [["basic", { realm: "a" }]]],
    ["Basic é", [["basic", {}]]],
  ];
  for (const [header, wanted] of table) {
    it(`reads ${JSON.stringify(header)}`, () => {
      const found = parseChallenges(header).map(({ scheme, parameters }) => [scheme, Object.fromEntries(parameters)]);
      assert.deepEqual(found, wanted);
    });
  }

  it("takes no time for a text that was made to take long", () => {
    const started = performance.now();
    for (const part of [" ", ",", "a ", "a=", 'a="', "\\", 'a="\\', "a=b,", "A/+="]) {
      parseChallenges(part.repeat(16_384 / part.length));
    }
    parseChallenges('Bearer realm="' + "\\".repeat(16_000));
    parseChallenges("x".repeat(1 << 20));
    assert.ok(performance.now() - started < 500);
  });
});
