import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as v from "valibot";
import { Failure } from "../../src/core/errors.ts";
import type { Plugin } from "../../src/core/plugin.ts";
import { PluginRegistry } from "../../src/core/plugin_registry.ts";
import { currentHost } from "../../src/host/mod.ts";

const context = { host: await currentHost(), root: "/nowhere", run: "/nowhere" };

function plugin(name: string, options: Partial<Plugin> = {}): Plugin {
  const [kind, id] = name.split("/") as [Plugin["kind"], string];
  return { kind, id, contract: 1, create: () => ({ name }), ...options };
}

/** Starts plugins and tells state and reason of each by its name. */
async function start(plugins: readonly Plugin[], settings?: Record<string, unknown>) {
  const registry = new PluginRegistry(plugins);
  await registry.start(context, settings);
  const states = Object.fromEntries(registry.list().map(({ kind, id, state }) => [`${kind}/${id}`, state]));
  const reasons = Object.fromEntries(registry.list().map(({ kind, id, reason }) => [`${kind}/${id}`, reason ?? ""]));
  return { registry, states, reasons };
}

describe("PluginRegistry", () => {
  it("refuses two of the same kind and id, naming both", () => {
    assert.throws(() => new PluginRegistry([plugin("content/local"), plugin("runtime/x"), plugin("content/local")]), {
      code: "already_exists",
      message: /"content\/local": number 1 and number 3/,
    });
  });

  it("creates in the order of requirements, else of the list", async () => {
    const order: string[] = [];
    const note = (name: string, requires: string[] = []) =>
      plugin(name, { requires, create: () => void order.push(name) });
    await start([
      note("runtime/a", ["snapshotter"]),
      note("snapshotter/b", ["metadata/m"]),
      note("content/c"),
      note("snapshotter/d"),
      note("metadata/m"),
    ]);
    assert.deepEqual(order, ["content/c", "snapshotter/d", "metadata/m", "snapshotter/b", "runtime/a"]);
  });

  it("gives a plugin its requirements and its settings, and nothing that it does not require", async () => {
    const { registry, reasons } = await start([
      plugin("content/c"),
      plugin("metadata/m", {
        requires: ["content"],
        config: v.strictObject({ size: v.optional(v.number(), 7) }),
        create: ({ get, config }) => ({ content: get("content"), config }),
      }),
      plugin("runtime/r", { create: ({ get }) => get("content") }),
    ]);
    assert.deepEqual(registry.get("metadata"), { content: { name: "content/c" }, config: { size: 7 } });
    assert.match(reasons["runtime/r"]!, /does not stand in its requires/);
  });

  it("reports what is not available, failed or skipped, and runs the others", async () => {
    const { registry, states, reasons } = await start([
      plugin("snapshotter/a", { probe: () => ({ available: false, reason: "the kernel has no overlay filesystem" }) }),
      plugin("snapshotter/b", { create: () => Promise.reject(new Error("no space")) }),
      plugin("snapshotter/c", { probe: () => ({ available: true, note: "slowly" }) }),
      plugin("runtime/a", { requires: ["snapshotter/a"] }),
      plugin("runtime/b", { requires: ["runtime/a"] }),
      plugin("runtime/c", { requires: ["snapshotter"] }),
      plugin("network/a", { requires: ["content"] }),
      plugin("network/b", { contract: 2 }),
    ]);
    assert.deepEqual(states, {
      "snapshotter/a": "unavailable",
      "snapshotter/b": "failed",
      "snapshotter/c": "running",
      "runtime/a": "skipped",
      "runtime/b": "skipped",
      "runtime/c": "running",
      "network/a": "skipped",
      "network/b": "failed",
    });
    assert.equal(reasons["snapshotter/c"], "slowly");
    assert.equal(reasons["snapshotter/b"], "no space");
    assert.match(reasons["runtime/b"]!, /runtime\/a is skipped .*no overlay filesystem/);
    assert.match(reasons["network/a"]!, /"content": no such plugin is listed/);
    assert.match(reasons["network/b"]!, /contract 2, this program has 1/);
    assert.deepEqual([...registry.all("snapshotter").keys()], ["c"]);
    assert.deepEqual(registry.get("snapshotter"), { name: "snapshotter/c" });
    assert.throws(() => registry.get("snapshotter", "a"), { code: "failed_precondition", message: /no overlay/ });
    assert.throws(() => registry.get("content"), { code: "failed_precondition" });
  });

  it("keeps what a plugin failed with", async () => {
    const damaged = new Failure("data_loss", "it is damaged");
    const { registry } = await start([
      plugin("metadata/m", { create: () => Promise.reject(damaged) }),
      plugin("content/c", { create: () => Promise.reject(new Error("no space")) }),
    ]);
    assert.throws(() => registry.get("metadata"), { code: "data_loss", message: /it is damaged/, cause: damaged });
    assert.throws(() => registry.get("content"), { code: "failed_precondition", message: /no space/ });
  });

  it("names a cycle, and runs what is not in it", async () => {
    const { states, reasons } = await start([
      plugin("runtime/a", { requires: ["runtime/b"] }),
      plugin("runtime/b", { requires: ["runtime/c"] }),
      plugin("runtime/c", { requires: ["runtime/b"] }),
      plugin("content/x"),
    ]);
    assert.equal(reasons["runtime/b"], "it requires itself: runtime/b → runtime/c → runtime/b");
    assert.deepEqual(Object.values(states), ["skipped", "failed", "failed", "running"]);
  });

  const wrong: readonly [string, Record<string, unknown>, RegExp][] = [
    ["of an unknown plugin", { "content/other": {} }, /"content\/other": there is none/],
    ["with an unknown field", { "content/c": { sise: 1 } }, /unknown field "sise": it has size/],
    ["of a wrong type", { "content/c": { size: "1" } }, /"size" is "1": wanted number/],
    ["for a plugin without any", { "runtime/r": { a: 1 } }, /unknown field "a": it has no settings/],
  ];
  for (const [what, settings, message] of wrong) {
    it(`start() refuses settings ${what} before it creates anything`, async () => {
      let created = 0;
      const plugins = [
        plugin("content/c", { config: v.object({ size: v.optional(v.number()) }), create: () => void created++ }),
        plugin("runtime/r", { create: () => void created++ }),
      ];
      await assert.rejects(start(plugins, settings), { code: "invalid_argument", message });
      assert.equal(created, 0);
    });
  }

  it("disposes in the reverse order of creation, all of them", async () => {
    const order: string[] = [];
    const disposable = (name: string, requires: string[] = []) =>
      plugin(name, {
        requires,
        create: () => ({
          [Symbol.asyncDispose]: () => {
            order.push(name);
            return name === "content/b" ? Promise.reject(new Error("stuck")) : Promise.resolve();
          },
        }),
      });
    const { registry } = await start([
      disposable("runtime/a", ["content"]),
      disposable("content/b"),
      plugin("network/c"),
    ]);
    await assert.rejects(registry[Symbol.asyncDispose](), /stuck/);
    assert.deepEqual(order, ["runtime/a", "content/b"]);
    assert.throws(() => registry.get("content"), { message: /it was stopped/ });
  });
});
