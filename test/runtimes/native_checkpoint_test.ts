import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { after, before, describe, it } from "node:test";
import { Rights } from "../../runtimes/native/rights.ts";
import type { NativeRuntime } from "../../runtimes/native/runtime.ts";
import type { Rootfs } from "../../src/core/mount.ts";
import type { CreateTask } from "../../src/core/runtime.ts";
import type { Spec } from "../../src/core/spec.ts";
import { demand, type Task } from "../../src/core/task.ts";
import { currentHost } from "../../src/host/mod.ts";
import { Kernel } from "../../src/linux/kernel.ts";
import { Reader, write } from "../contract/runtime/fixture.ts";
import { makeBusyboxRoot } from "../support/busybox_image.ts";
import { workingCriu } from "../support/criu.ts";
import { busyboxRootfs, nativeRuntime, specFor } from "./native_runtime.ts";

const host = await currentHost();

/* What the contract says of checkpoints is in `test/contract/runtime/checkpointing.ts`. */

describe("a checkpoint of the native runtime", { skip: process.geteuid?.() === 0 ? false : "it takes root" }, () => {
  const cgroupParent = `/mayfly-checkpoint-${process.pid}`;
  let folder: string;
  let rootfs: Rootfs;
  let runtime: NativeRuntime;
  let count = 0;

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "mayfly-checkpoint-"));
    makeBusyboxRoot(join(folder, "root"));
    rootfs = busyboxRootfs(join(folder, "root"));
    runtime = await nativeRuntime(join(folder, "run"), cgroupParent, { criu: workingCriu() });
  });

  after(async () => {
    await runtime[Symbol.asyncDispose]();
    assert.deepEqual(readdirSync(join(folder, "run/rootfs.restores")), []);
    rmSync(folder, { recursive: true, force: true });
  });

  async function launch(options: Partial<CreateTask> & { readonly spec: Spec }): Promise<Task> {
    const task = await runtime.create({ id: `c${count++}`, rootfs, ...options });
    await task.start();
    return task;
  }

  const empty = () => mkdtempSync(join(folder, "images-"));

  async function echoes(task: Task): Promise<void> {
    await write(task.stdin, "a\n");
    assert.equal(await new Reader(task.stdout).line(), "a");
  }

  it("has the hooks of a container's start and end run for those that go on from it", async () => {
    const told = join(folder, "told");
    const hook = (word: string) => [{ path: "/bin/sh", args: ["sh", "-c", `echo ${word} >> ${told}`] }];
    const spec = { ...specFor(["cat"]), hooks: { poststart: hook("start"), poststop: hook("stop") } };
    const first = await launch({ spec });
    const checkpoint = empty();
    await demand(first, "checkpoint").checkpoint({ folder: checkpoint, exit: true });
    await first.delete();
    const restored = await launch({ spec, checkpoint });
    await echoes(restored);
    await restored.delete();
    assert.equal(readFileSync(told, "utf8"), "start\nstop\nstart\nstop\n");
  });

  it("is refused where it could not be gone on from, and all stays as it was", async () => {
    const spec = specFor(["cat"]);
    for (const turn of ["prestart", "createRuntime", "createContainer", "startContainer"]) {
      const hooked = { ...spec, hooks: { [turn]: [{ path: "/bin/true" }] } };
      const task = await launch({ spec: hooked });
      const refused = { code: "unimplemented", message: new RegExp(`hooks ${turn}`) };
      await assert.rejects(demand(task, "checkpoint").checkpoint({ folder: empty() }), refused);
      await assert.rejects(launch({ spec: hooked, checkpoint: empty() }), refused);
      await echoes(task);
      await task.delete();
    }
    const user = { ...spec, process: { ...spec.process, user: { uid: 1000, gid: 1000 } } };
    if (!new Rights(new Kernel(host)).raisesLimits) {
      const denied = { code: "permission_denied", message: /user 1000.*CAP_SYS_RESOURCE/ };
      await assert.rejects(launch({ spec: user, checkpoint: empty() }), denied);
    }
    const broken = empty();
    writeFileSync(join(broken, "mayfly.json"), '{"stdio":["--root /",null,null]}');
    await assert.rejects(launch({ spec, checkpoint: broken }), { code: "invalid_argument", message: /stdio/ });
  });

  it("needs a CRIU, which it names", async () => {
    const without = await nativeRuntime(join(folder, "run"), cgroupParent, { criu: "/nothing/criu" });
    try {
      const task = await without.create({ id: "without", spec: specFor(["cat"]), rootfs });
      await task.start();
      await assert.rejects(demand(task, "checkpoint").checkpoint({ folder: empty() }), {
        code: "unavailable",
        message: /there is no program \/nothing\/criu: install/,
      });
      assert.equal(task.status, "running");
    } finally {
      await without[Symbol.asyncDispose]();
    }
  });
});
