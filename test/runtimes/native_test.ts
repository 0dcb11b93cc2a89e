import assert from "node:assert/strict";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { native } from "../../runtimes/native/mod.ts";
import { currentHost } from "../../src/host/mod.ts";
import { testRuntime } from "../contract/runtime.ts";

const host = await currentHost();

testRuntime("native", async (folder) => {
  const cgroupParent = `/mayfly-test-${process.pid}`;
  const context = { host, root: folder, run: join(folder, "run") };
  const probe = await native.probe?.(context);
  assert.deepEqual(probe, { available: true });
  const get = (kind: string): never => assert.fail(`it asks for ${kind}`);
  const runtime = await native.create({ ...context, config: { cgroupParent }, get });
  const cgroups = () =>
    readdirSync("/sys/fs/cgroup").map((name) => `/sys/fs/cgroup/${name}${cgroupParent}`).filter((path) =>
      existsSync(path)
    );
  return {
    runtime,
    leftovers: () =>
      cgroups().flatMap((path) => readdirSync(path, { withFileTypes: true }))
        .filter((entry) => entry.isDirectory()).map(({ name }) => name),
    close: async () => {
      const { rmdirSync } = await import("node:fs");
      for (const path of cgroups()) rmdirSync(path);
    },
  };
});
