import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import type { Ability } from "../../src/core/task.ts";
import { testRuntime } from "../contract/runtime/mod.ts";
import { workingCriu } from "../support/criu.ts";
import { cgroupsOf, hasCgroups } from "./native_runtime.ts";
import { ociRuntimeOf } from "./oci_runtime.ts";

for (const id of ["crun", "runc"]) {
  // crun's checkpoints do not work, as `binaries.ts` says.
  const checkpoints = id === "runc";
  const abilities: ReadonlySet<Ability> = new Set<Ability>([
    ...["pause", "exec", "update", "stats", "resize"] as const,
    ...checkpoints ? ["checkpoint"] as const : [],
  ]);
  const cgroupParent = `/mayfly-test-${process.pid}-${id}`;
  testRuntime(id, async (folder) => {
    const runtime = await ociRuntimeOf(
      id,
      join(folder, "oci"),
      cgroupParent,
      checkpoints ? workingCriu() : undefined,
    );
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
