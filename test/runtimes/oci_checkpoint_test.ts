import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { after, before, describe, it } from "node:test";
import type { OciRuntime } from "../../runtimes/oci/runtime.ts";
import type { Rootfs } from "../../src/core/mount.ts";
import type { ErrorCode } from "../../src/core/errors.ts";
import type { Spec } from "../../src/core/spec.ts";
import { demand, type Task } from "../../src/core/task.ts";
import { makeBusyboxRoot } from "../support/busybox_image.ts";
import { workingCriu } from "../support/criu.ts";
import { busyboxRootfs, cgroupsOf, specFor } from "./native_runtime.ts";
import { ociRuntimeOf } from "./oci_runtime.ts";

/* What the contract says of checkpoints is in `test/contract/runtime/checkpointing.ts`. */

describe("a checkpoint of runc's", { skip: process.geteuid?.() === 0 ? false : "it takes root" }, () => {
  const cgroupParent = `/mayfly-oci-checkpoint-${process.pid}`;
  let folder: string;
  let rootfs: Rootfs;
  let runtime: OciRuntime;
  let count = 0;
  const spec = specFor(["cat"]);
  const empty = () => mkdtempSync(join(folder, "images-"));
  const create = (checkpoint: string, changes: Partial<Spec> = {}, of = runtime) =>
    of.create({ id: `c${count++}`, rootfs, spec: { ...spec, ...changes }, checkpoint });
  const start = async (changes: Partial<Spec> = {}, of = runtime): Promise<Task> => {
    const task = await of.create({ id: `c${count++}`, rootfs, spec: { ...spec, ...changes } });
    await task.start();
    return task;
  };

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "mayfly-checkpoint-"));
    makeBusyboxRoot(join(folder, "root"));
    rootfs = busyboxRootfs(join(folder, "root"));
    runtime = await ociRuntimeOf("runc", join(folder, "oci"), cgroupParent, workingCriu());
  });

  after(async () => {
    await runtime[Symbol.asyncDispose]();
    assert.deepEqual(cgroupsOf(cgroupParent), []);
    rmSync(folder, { recursive: true, force: true });
  });

  it("is refused where the next container would be another", async () => {
    const task = await start();
    const checkpoint = empty();
    await demand(task, "checkpoint").checkpoint({ folder: checkpoint, exit: true });
    await task.delete();
    // In the host's network CRIU would leave a container that is to have its own.
    const namespaces = spec.linux.namespaces?.filter(({ type }) => type !== "network");
    await assert.rejects(create(checkpoint, { linux: { ...spec.linux, namespaces } }), {
      code: "failed_precondition",
      message: /its namespaces are cgroup, ipc, mount, pid, uts, .* cgroup, ipc, mount, network, pid, uts/,
    });
    const others: readonly (readonly [record: string, code: ErrorCode, message: RegExp])[] = [
      ['{"runtime":"other","namespaces":[]}', "invalid_argument", /one of runtime other/],
      ['{"runtime":"runc"}', "invalid_argument", /namespaces/],
      ["", "invalid_argument", /holds no checkpoint/],
    ];
    for (const [record, code, message] of others) {
      writeFileSync(join(checkpoint, "mayfly-oci.json"), record);
      await assert.rejects(create(checkpoint), { code, message });
    }
    assert.deepEqual(runtime.tasks(), []);
  });

  it("is refused for what would be gone behind it", async () => {
    const others: readonly (readonly [what: RegExp, changes: Partial<Spec>])[] = [
      [/hooks poststart/, { hooks: { poststart: [{ path: "/bin/true" }] } }],
      [/with a terminal/, { process: { ...spec.process, terminal: true } }],
    ];
    for (const [message, changes] of others) {
      const task = await start(changes);
      const checkpoints = demand(task, "checkpoint");
      await assert.rejects(checkpoints.checkpoint({ folder: empty() }), { code: "unimplemented", message });
      assert.equal(task.status, "running");
      await task.delete();
      await assert.rejects(create(empty(), changes), { code: "unimplemented", message });
    }
  });

  it("needs a CRIU, which it names", async () => {
    const without = await ociRuntimeOf("runc", join(folder, "without"), cgroupParent, "/nothing/criu");
    try {
      const task = await start({}, without);
      const missing = { code: "unavailable", message: /there is no program \/nothing\/criu: install/ };
      await assert.rejects(demand(task, "checkpoint").checkpoint({ folder: empty() }), missing);
      await assert.rejects(create(empty(), {}, without), missing);
      assert.equal(task.status, "running");
    } finally {
      await without[Symbol.asyncDispose]();
    }
  });
});
