import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as v from "valibot";
import { type Plugin, pluginContract, type ProbeContext } from "../../src/core/plugin.ts";
import { PluginRegistry } from "../../src/core/plugin_registry.ts";
import { currentHost } from "../../src/host/mod.ts";

const context: ProbeContext = { host: await currentHost(), root: "/nowhere", run: "/nowhere" };
const plugin = (kind: Plugin["kind"], id: string, more: Partial<Plugin> = {}): Plugin => ({
  kind,
  id,
  contract: pluginContract,
  create: () => `${kind}/${id}`,
  ...more,
});

async function started(plugins: readonly Plugin[], settings?: Record<string, unknown>) {
  const registry = new PluginRegistry(plugins);
  await registry.start(context, settings);
  return registry;
}

const states = (registry: PluginRegistry) =>
  Object.fromEntries(registry.list().map(({ kind, id, state }) => [`${kind}/${id}`, state]));
const reason = (registry: PluginRegistry, id: string) => registry.list().find((info) => info.id === id)?.reason ?? "";

describe("PluginRegistry", () => {
  it("refuses a second plugin of the same kind and id, and names both", () => {
    assert.throws(() => new PluginRegistry([plugin("content", "a"), plugin("runtime", "a"), plugin("content", "a")]), {
      code: "already_exists",
      message: /content\/a twice: number 1 and number 3/,
    });
  });

  it("creates in the order of requirements", async () => {
    const order: string[] = [];
    const note = (id: string) => ({ create: () => order.push(id) });
    await started([
      plugin("service", "last", { requires: ["runtime", "content/store"], ...note("last") }),
      plugin("runtime", "middle", { requires: ["content"], ...note("middle") }),
      plugin("content", "store", note("store")),
    ]);
    assert.deepEqual(order, ["store", "middle", "last"]);
  });

  it("hands a required instance to who asks for it", async () => {
    const registry = await started([
      plugin("content", "store"),
      plugin("runtime", "r", { requires: ["content"], create: ({ get }) => `over ${get<string>("content")}` }),
    ]);
    assert.equal(registry.get("runtime"), "over content/store");
    assert.deepEqual([...registry.all("runtime")], [["r", "over content/store"]]);
  });

  it("contains a plugin that throws, and skips only what requires it", async () => {
    const registry = await started([
      plugin("content", "broken", { create: () => Promise.reject(new Error("the disk is gone")) }),
      plugin("runtime", "needy", { requires: ["content/broken"] }),
      plugin("runtime", "free"),
    ]);
    assert.deepEqual(states(registry), {
      "content/broken": "failed",
      "runtime/needy": "skipped",
      "runtime/free": "running",
    });
    assert.equal(reason(registry, "broken"), "the disk is gone");
    assert.match(reason(registry, "needy"), /requires content\/broken, and content\/broken: the disk is gone/);
    assert.throws(() => registry.get("content"), { code: "failed_precondition", message: /the disk is gone/ });
  });

  it("says why a plugin is not available", async () => {
    const registry = await started([
      plugin("snapshotter", "s", { probe: () => ({ available: false, reason: "modprobe overlay" }) }),
      plugin("snapshotter", "throws", {
        probe: () => {
          throw new Error("no /proc");
        },
      }),
    ]);
    assert.deepEqual(states(registry), { "snapshotter/s": "unavailable", "snapshotter/throws": "failed" });
    assert.equal(reason(registry, "s"), "modprobe overlay");
  });

  it("fails a plugin of another contract version, and names both versions", async () => {
    const registry = await started([plugin("monitor", "old", { contract: 0 })]);
    assert.equal(reason(registry, "old"), `it was built for contract 0, this program has ${pluginContract}`);
  });

  it("names a cycle of requirements", async () => {
    const registry = await started([
      plugin("service", "a", { requires: ["service/b"] }),
      plugin("service", "b", { requires: ["service/a"] }),
      plugin("service", "c"),
    ]);
    assert.deepEqual(states(registry), { "service/a": "failed", "service/b": "skipped", "service/c": "running" });
    assert.match(reason(registry, "a"), /service\/a → service\/b → service\/a/);
  });

  it("parses each plugin's settings by its schema", async () => {
    const config = v.strictObject({ size: v.optional(v.number(), 5) });
    const create = ({ config }: { config: unknown }) => config;
    const sized = plugin("content", "sized", { config, create });
    assert.deepEqual((await started([sized])).get("content"), { size: 5 });
    assert.deepEqual((await started([sized], { "content/sized": { size: 7 } })).get("content"), { size: 7 });
    assert.match(reason(await started([sized], { "content/sized": { sise: 7 } }), "sized"), /unknown field "sise"/);
    assert.match(
      reason(await started([plugin("content", "bare")], { "content/bare": { x: 1 } }), "bare"),
      /unknown field "x"/,
    );
    await assert.rejects(started([sized], { "content/other": {} }), {
      code: "invalid_argument",
      message: /known are content\/sized/,
    });
  });
});
