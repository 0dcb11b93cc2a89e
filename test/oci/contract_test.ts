import assert from "node:assert/strict";
import { chmodSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { abilities } from "../../src/core/task.ts";
import { testRuntime } from "../contract/runtime/mod.ts";
import { cgroupsOf, hasCgroups } from "../runtimes/native_runtime.ts";
import { ociRuntimeOf } from "../runtimes/oci_runtime.ts";
import { sameHost } from "../support/same_host.ts";

/* `mayfly oci` is held to the contract as any OCI runtime's program is: by the runtime that drives those. */

const main = fileURLToPath(new URL("../../src/main.ts", import.meta.url));
const cgroupParent = `/mayfly-test-${process.pid}-oci`;
const own = mkdtempSync(join(tmpdir(), "mayfly-oci-"));
const program = join(own, "mayfly-oci");
const command = [...await sameHost(main), "oci"].map((word) => `'${word}'`).join(" ");
writeFileSync(program, `#!/bin/sh\nNODE_COMPILE_CACHE='${own}/compiled' exec ${command} "$@"\n`);
chmodSync(program, 0o755);

/** Its command line has no word for checkpoints. */
const able = new Set(abilities.filter((ability) => ability !== "checkpoint"));

testRuntime("mayfly oci", async (folder) => {
  const runtime = await ociRuntimeOf(program, join(folder, "oci"), cgroupParent);
  return {
    runtime,
    leftovers: () => [
      ...cgroupsOf(cgroupParent),
      ...["state", "tasks"].flatMap((name) => readdirSync(join(folder, "oci", name))),
    ],
    close: async () => {
      await runtime[Symbol.asyncDispose]();
      rmSync(own, { recursive: true });
      assert.equal(hasCgroups(cgroupParent), false);
    },
  };
}, { abilities: able });
