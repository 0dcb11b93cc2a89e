import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { after, before, describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import type { Logger } from "../src/core/logger.ts";
import type { Plugin } from "../src/core/plugin.ts";
import { PluginRegistry } from "../src/core/plugin_registry.ts";
import type { Snapshotter } from "../src/core/snapshotter.ts";
import { currentHost } from "../src/host/mod.ts";
import { loadPluginModules } from "../src/plugin_modules.ts";
import { World } from "./support/world.ts";

const reflink = fileURLToPath(new URL("../examples/plugin/reflink.ts", import.meta.url));

/** A module's text with one network plugin. @param more fields after the usual ones, which win over them. */
const network = (id: string, more = "") =>
  `export const it = { kind: "network", id: "${id}", contract: 1, ` +
  `create: () => ({ id: "${id}", apply: (spec) => spec }), ${more} };`;

/** A snapshotter whose calls fail in the ways that one can. */
const clumsy = `
class Clumsy {
  #secret = 1;
  id = "clumsy";
  scratch = false;
  async stat() { throw Object.assign(new Error("there is none"), { code: "not_found" }); }
  async update() {}
  async mounts() { return []; }
  async prepare() { undefined.length; }
  view() { throw new TypeError("view is broken in " + this.#secret); }
  async folder() { throw null; }
  async commit() {}
  async remove() {}
  async usage() { return { bytes: 0, inodes: 0 }; }
  async walk() { return []; }
  async cleanup() { return []; }
}
export const clumsy = { kind: "snapshotter", id: "clumsy", contract: 1, create: () => new Clumsy() };`;

describe("plugin modules", () => {
  let folder = "";
  let count = 0;

  before(() => void (folder = mkdtempSync(join(tmpdir(), "mayfly-modules-"))));
  after(() => {
    // Deno may call a module that waits for nothing that can come an error of the whole file.
    const events: NodeJS.EventEmitter = process;
    events.emit("modules-end");
    rmSync(folder, { recursive: true, force: true });
  });

  /** @returns the path of a new module. */
  function module(text: string): string {
    const path = join(folder, `${count++}.mjs`);
    writeFileSync(path, text);
    return path;
  }

  /** Starts a registry with modules, and one plugin that is built in. */
  async function start(names: readonly string[], settings: Record<string, unknown> = {}) {
    const own: Plugin = { kind: "content", id: "own", contract: 1, create: () => ({}) };
    const lines: string[] = [];
    const line = (message: string, fields?: unknown) => void lines.push(`${message} ${JSON.stringify(fields)}`);
    const log: Logger = {
      debug: line,
      info: line,
      warn: line,
      error: (message, error, fields) => line(`${message}: ${error}`, fields),
    };
    const registry = new PluginRegistry([own], await loadPluginModules(names, 500));
    const context = { host: await currentHost(), root: "/nowhere", run: "/nowhere" };
    await registry.start(context, settings, { log, guestLimitMs: 500 });
    assert.equal(registry.list()[0]?.state, "running");
    return { registry, lines, list: registry.list().slice(1) };
  }

  const refused: readonly [string, string, RegExp][] = [
    ["that throws", `throw new Error("no such pool");`, /no such pool/],
    ["that throws nothing", `throw undefined;`, /undefined/],
    ["that is no JavaScript", `export const = 1;`, /./],
    [
      "that never ends",
      `import process from "node:process"; await new Promise((end) => process.once("modules-end", end));`,
      /cannot load it: no answer within 0\.5 s/,
    ],
    ["without a plugin", `export const x = 1, y = {}, z = null;`, /exports no plugin/],
    ["of a newer contract", network("x", "contract: 7"), /"it": it was built for contract 7, this program has 1/],
    [
      "of an older contract",
      network("x", "contract: 0"),
      /built for contract 0, this program has 1.* newer version of it/,
    ],
    ["of no contract", network("x", "contract: undefined"), /"contract" is missing/],
    ["of a contract that is no number", network("x", `contract: "1"`), /"contract" is "1": wanted number/],
    ["of an unknown kind", network("x", `kind: "volume"`), /"kind" is "volume": wanted one of content, /],
    ["with an id that is a path", network("../x"), /"id" is "\.\.\/x": wanted 1 to 64/],
    ["without create", network("x", "create: undefined"), /"create" is missing/],
    ["whose config is no schema", network("x", "config: {}"), /"config" is Object: wanted a valibot schema/],
    ["whose fields throw", `export const it = { contract: 1, get kind() { throw new Error("kind?"); } };`, /kind\?/],
  ];
  for (const [what, text, reason] of refused) {
    it(`one ${what} is reported by its path, and the others run`, async () => {
      const bad = module(text);
      const { list, lines } = await start([bad, module(network("good"))]);
      assert.deepEqual(list.map(({ kind, state }) => [kind, state]), [["network", "running"], ["module", "failed"]]);
      assert.equal(list[1]?.id, bad);
      assert.match(list[1]?.reason ?? "", reason);
      assert.ok(lines.some((line) => line.includes(bad)), lines.join("\n"));
    });
  }

  it("one that is not there is reported", async () => {
    const { list } = await start(["/no/such/module.ts", "mayfly-no-such-package"]);
    assert.deepEqual(list.map(({ id, state }) => [id, state]), [
      ["/no/such/module.ts", "failed"],
      ["mayfly-no-such-package", "failed"],
    ]);
  });

  const failing: readonly [string, string, RegExp][] = [
    ["whose probe throws", `probe() { throw new Error("no module zfs"); }`, /no module zfs/],
    ["whose probe never ends", `probe: () => new Promise(() => {})`, /its probe\(\) does not end/],
    ["whose probe says nothing that can be understood", `probe: () => "yes"`, /cannot use what its probe/],
    ["whose create throws", `create() { throw new Error("no pool"); }`, /no pool/],
    ["whose create never ends", `create: () => new Promise(() => {})`, /its create\(\) does not end/],
    ["that makes nothing", `create() {}`, /returned for a network: it is undefined/],
    ["that makes too little", `create: () => ({ id: "x" })`, /it has no apply\(\)/],
    ["that makes something else", `create: () => ({ id: "y", apply() {} })`, /its id is "y", want the plugin's, "x"/],
  ];
  for (const [what, fields, reason] of failing) {
    it(`a plugin ${what} has failed, and the others run`, async () => {
      const { list } = await start([module(network("x", fields)), module(network("good"))]);
      assert.deepEqual(list.map(({ id, state }) => [id, state]), [["x", "failed"], ["good", "running"]]);
      assert.match(list[0]?.reason ?? "", reason);
    });
  }

  it("of two with one kind and id the first stays, and both places are named", async () => {
    const [first, second] = [module(network("same")), module(network("same"))];
    const { list } = await start([
      first,
      second,
      module(`export default { kind: "content", id: "own", contract: 1,
      create() { return {}; } };`),
    ]);
    assert.deepEqual(list.map(({ state }) => state), ["running", "failed", "failed"]);
    assert.ok(list[1]?.reason?.includes(first) && list[1].reason.includes(second), list[1]?.reason);
    assert.match(list[2]?.reason ?? "", /"content\/own" from ".*" is there already, built in/);
  });

  it("gives a plugin its settings and a log that names it", async () => {
    const path = module(network(
      "talks",
      `create({ log, config }) {
      log.info("hello", { config });
      return { id: "talks", apply: (spec) => spec };
    }`,
    ));
    const { lines } = await start([path]);
    assert.deepEqual(lines, [`hello {"config":{},"plugin":"network/talks"}`]);
  });

  it("settings for a module's plugin are no mistake where the module could not be used", async () => {
    await start(["/no/such/module.ts"], { "snapshotter/zfs": { pool: "tank" } });
    await assert.rejects(start([], { "snapshotter/zfs": { pool: "tank" } }), { code: "invalid_argument" });
  });

  it("a call that fails without a code is internal, and the plugin has failed", async () => {
    const { registry, lines } = await start([module(clumsy)]);
    const snapshotter = registry.all<Snapshotter>("snapshotter").get("clumsy");
    assert.ok(snapshotter !== undefined);
    const state = () => registry.list().find(({ id }) => id === "clumsy");
    await assert.rejects(snapshotter.stat("x"), { code: "not_found", message: "there is none" });
    assert.equal(state()?.state, "running");
    await assert.rejects(async () => await snapshotter.view("x", "y"), {
      code: "internal",
      message: /^plugin "snapshotter\/clumsy" of ".*" failed in view\(\): view is broken in 1$/,
    });
    assert.equal(state()?.state, "failed");
    await assert.rejects(snapshotter.prepare("x"), { code: "internal", message: /failed in prepare\(\)/ });
    await assert.rejects(snapshotter.folder("x"), { code: "internal", message: /failed in folder\(\): null/ });
    assert.deepEqual(await snapshotter.walk(), []);
    assert.ok(lines.some((line) => line.includes("failed in view()")), lines.join("\n"));
    await registry[Symbol.asyncDispose]();
  });

  it("one whose end throws does not keep the others from theirs", async () => {
    const text = network(
      "x",
      `create: () => ({ id: "x", apply() {}, [Symbol.asyncDispose]() { throw new Error("stuck"); } })`,
    );
    const { registry, lines } = await start([module(text)]);
    await registry[Symbol.asyncDispose]();
    assert.ok(lines.some((line) => line.includes("cannot stop") && line.includes("stuck")), lines.join("\n"));
  });

  it("can be a package that is installed beside mayfly", async () => {
    const name = `mayfly-test-${process.pid}`;
    const home = fileURLToPath(new URL(`../node_modules/${name}`, import.meta.url));
    mkdirSync(home);
    try {
      writeFileSync(join(home, "package.json"), JSON.stringify({ name, type: "module", exports: "./mod.js" }));
      writeFileSync(join(home, "mod.js"), network("packed"));
      const { list } = await start([name]);
      assert.deepEqual(list.map(({ id, source, state }) => [id, source, state]), [["packed", name, "running"]]);
    } finally {
      rmSync(home, { recursive: true });
    }
  });

  it("serves a function on a guest's snapshotter, and others when a guest fails", async () => {
    const names = [reflink, module(clumsy), module(`throw new Error("at import");`)];
    await using world = await World.open({ "plugin-modules": names.join(","), "log-level": "error" });
    await world.script("guest", "cat; echo from a guest", { snapshotter: "reflink" });
    await world.script("own", "cat");
    assert.equal((await world.curl("/fn/guest", "-d", "hi ")).body, "hi from a guest\n");
    const bad = await world.ask("PUT", "/v1/functions/bad", {
      image: "box:1",
      snapshotter: "clumsy",
      command: ["/bin/true"],
    });
    assert.equal(bad.status, 500, await bad.text());
    assert.equal((await world.curl("/fn/own", "-d", "still")).body, "still");
    const { items } = await world.admin<{ items: { id: string; source: string; state: string; reason?: string }[] }>(
      "GET",
      "/v1/plugins",
    );
    const of = (id: string) => items.find((item) => item.id === id);
    assert.deepEqual([of("reflink")?.state, of("reflink")?.source], ["running", reflink]);
    assert.equal(of("clumsy")?.state, "failed");
    assert.match(of("clumsy")?.reason ?? "", /failed in prepare\(\)/);
    assert.deepEqual([of(names[2] ?? "")?.state, of(names[2] ?? "")?.reason], ["failed", "at import"]);
  });
});
