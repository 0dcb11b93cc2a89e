import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { OciRuntime } from "../../runtimes/oci/runtime.ts";
import type { Ability } from "../../src/core/task.ts";
import { currentHost } from "../../src/host/mod.ts";
import { Cgroups, detectLayout } from "../../src/linux/cgroup/mod.ts";
import { Children } from "../../src/linux/children.ts";
import { findProgram } from "../../src/linux/find_program.ts";
import { Kernel } from "../../src/linux/kernel.ts";
import { testRuntime } from "../contract/runtime/mod.ts";
import { cgroupsOf, hasCgroups } from "./native_runtime.ts";

const host = await currentHost();
const abilities: ReadonlySet<Ability> = new Set<Ability>(["pause", "exec", "update", "stats", "resize"]);

for (const id of ["crun", "runc"]) {
  const cgroupParent = `/mayfly-test-${process.pid}-${id}`;
  testRuntime(id, async (folder) => {
    const kernel = new Kernel(host);
    const program = findProgram(kernel, id);
    assert.ok(program !== undefined, `there is no ${id}`);
    const runtime = new OciRuntime({
      id,
      program,
      lacks: [],
      kernel,
      children: new Children(kernel),
      cgroups: new Cgroups(kernel, detectLayout(kernel)),
      folder: join(folder, "oci"),
      cgroupParent,
    });
    assert.deepEqual(runtime.abilities, abilities);
    return {
      runtime,
      leftovers: () => [
        ...cgroupsOf(cgroupParent),
        ...readdirSync(join(folder, "oci/state")),
        ...readdirSync(join(folder, "oci/tasks")),
      ],
      close: async () => {
        await runtime[Symbol.asyncDispose]();
        assert.equal(hasCgroups(cgroupParent), false);
      },
    };
  }, { abilities });
}
