import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { environmentOf, flagOf, readConfig } from "../src/config.ts";

const invalid = (pattern: RegExp) => (error: unknown) => {
  assert.equal((error as { code?: string }).code, "invalid_argument");
  assert.match((error as Error).message, pattern);
  return true;
};

describe("readConfig()", () => {
  it("has a default for every option", () => {
    const config = readConfig();
    assert.equal(config.root, "/var/lib/mayfly");
    assert.equal(config.listen, "127.0.0.1:8080");
    assert.equal(config.maxConcurrency, 256);
    assert.deepEqual(config.plugins, {});
  });

  it("lets flags win over the environment, and that over the file", () => {
    const file = { name: "config.json", text: '{"root":"/file","run":"/file","logLevel":"warn"}' };
    const env = { MAYFLY_ROOT: "/environment", MAYFLY_RUN: "/environment", MAYFLY_MAX_CONCURRENCY: "7" };
    const config = readConfig({ file, env, flags: { root: "/flag" } });
    assert.deepEqual(
      [config.root, config.run, config.logLevel, config.maxConcurrency],
      ["/flag", "/environment", "warn", 7],
    );
  });

  const refused: readonly [string, Parameters<typeof readConfig>[0], RegExp][] = [
    [
      "an unknown key",
      { file: { name: "c.json", text: '{"rot":1}' } },
      /c\.json has an unknown key "rot": known are root/,
    ],
    ["text that is no JSON", { file: { name: "c.json", text: "{" } }, /c\.json is no JSON/],
    ["a list in place of an object", { file: { name: "c.json", text: "[]" } }, /c\.json is no JSON object/],
    [
      "a secret on the command line",
      { flags: { "admin-token": "x".repeat(16) } },
      /every user[^]*set MAYFLY_ADMIN_TOKEN/,
    ],
    ["a relative root", { flags: { root: "here" } }, /--root is "here", wanted an absolute path/],
    ["a word as a number", { env: { MAYFLY_DRAIN_MS: "soon" } }, /MAYFLY_DRAIN_MS is "soon", wanted a number/],
    [
      "an address without port",
      { flags: { listen: "localhost" } },
      /--listen is "localhost", wanted an address and a port/,
    ],
    ["a proxy that is a name", { flags: { "trusted-proxies": "proxy.example" } }, /wanted addresses, networks as 10/],
    [
      "a proxy's network that is none",
      { flags: { "trusted-proxies": "::1,10.0.0.0/33" } },
      /wanted addresses, networks/,
    ],
    ["tokens on the command line", { flags: { "registry-tokens": "{}" } }, /set MAYFLY_REGISTRY_TOKENS/],
    ["no token at all", { env: { MAYFLY_REGISTRY_TOKENS: "{}" } }, /wanted a token at least/],
    [
      "a token of no namespace",
      { env: { MAYFLY_REGISTRY_TOKENS: `{"No":"${"x".repeat(16)}"}` } },
      /lower-case letters/,
    ],
  ];
  for (const [what, sources, pattern] of refused) {
    it(`refuses ${what}`, () => assert.throws(() => readConfig(sources), invalid(pattern)));
  }

  it("does not repeat a refused token", () => {
    for (
      const env of [
        { MAYFLY_ADMIN_TOKEN: "hunter2" },
        { MAYFLY_REGISTRY_TOKENS: '{"default":"hunter2"}' },
        { MAYFLY_REGISTRY_TOKENS: '{"default":"hunter2' },
      ]
    ) {
      assert.throws(() => readConfig({ env }), (error: unknown) => {
        assert.doesNotMatch((error as Error).message, /hunter2/);
        return true;
      });
    }
  });

  it("derives a flag and a variable from each name", () => {
    assert.equal(flagOf("maxConcurrency"), "max-concurrency");
    assert.equal(environmentOf("maxConcurrency"), "MAYFLY_MAX_CONCURRENCY");
  });
});
