import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { before, describe, it } from "node:test";
import type { Network } from "../../src/core/network.ts";
import { silent } from "../../src/core/logger.ts";
import type { PluginContext } from "../../src/core/plugin.ts";
import type { Spec } from "../../src/core/spec.ts";
import { currentHost } from "../../src/host/mod.ts";
import { host } from "../../src/network/host.ts";
import { none } from "../../src/network/none.ts";
import { generateSpec } from "../../src/tasks/spec.ts";

const types = (spec: Spec) => (spec.linux.namespaces ?? []).map(({ type }) => type);
const networks = (spec: Spec) => types(spec).filter((type) => type === "network");

describe("network plugins", () => {
  let spec: Spec;
  let context: PluginContext;
  const create = (plugin: typeof none) => plugin.create(context) as Network;

  before(async () => {
    spec = generateSpec({
      id: "test",
      image: { os: "linux", architecture: "amd64", config: { Cmd: ["c"] }, rootfs: { type: "layers", diff_ids: [] } },
    });
    context = {
      host: await currentHost(),
      root: "/nowhere",
      run: "/nowhere",
      config: undefined,
      log: silent,
      get: () => assert.fail("a network needs no other plugin"),
    };
  });

  it("none has exactly one new network namespace", () => {
    for (const before of [spec, create(host).apply(spec), create(none).apply(spec)]) {
      assert.deepEqual(networks(create(none).apply(before)), ["network"]);
    }
    assert.deepEqual(create(none).apply(spec).mounts, spec.mounts);
  });

  it("host has no network namespace, all others, and the machine's files for names, read-only", () => {
    const applied = create(host).apply(spec);
    assert.deepEqual(networks(applied), []);
    assert.deepEqual(types(applied), types(spec).filter((type) => type !== "network"));
    const bound = (applied.mounts ?? []).slice(spec.mounts?.length);
    const wanted = ["/etc/resolv.conf", "/etc/hosts"].filter((path) => existsSync(path));
    assert.deepEqual(bound.map(({ source, destination }) => [source, destination]), wanted.map((path) => [path, path]));
    for (const { options } of bound) assert.ok(options?.includes("ro"));
  });

  it("host leaves a mount that is there in its place", () => {
    const own = { destination: "/etc/hosts", type: "bind", source: "/own", options: ["ro"] };
    const applied = create(host).apply({ ...spec, mounts: [...spec.mounts ?? [], own] });
    assert.deepEqual(applied.mounts?.filter(({ destination }) => destination === "/etc/hosts"), [own]);
  });

  it("they do not change what they are given", () => {
    const text = JSON.stringify(spec);
    create(host).apply(spec);
    create(none).apply(spec);
    assert.equal(JSON.stringify(spec), text);
  });
});
