import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readFileSync, readlinkSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { after, before, describe, it } from "node:test";
import type { NativeRuntime } from "../../runtimes/native/runtime.ts";
import type { Rootfs } from "../../src/core/mount.ts";
import type { TaskEvent } from "../../src/core/runtime.ts";
import type { Spec } from "../../src/core/spec.ts";
import { demand } from "../../src/core/task.ts";
import { makeBusyboxRoot } from "../support/busybox_image.ts";
import { until } from "../support/until.ts";
import { busyboxRootfs, cgroupsOf, nativeRuntime, specFor } from "./native_runtime.ts";

const isRoot = process.geteuid?.() === 0;
let count = 0;

describe("NativeRuntime, processes that wait for their start", { skip: isRoot ? false : "it takes root" }, () => {
  const cgroupParent = `/mayfly-test-${process.pid}-staged`;
  let folder: string;
  let runtime: NativeRuntime;
  let rootfs: Rootfs;

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "mayfly-staged-"));
    makeBusyboxRoot(join(folder, "root"));
    rootfs = busyboxRootfs(join(folder, "root"));
    runtime = await nativeRuntime(join(folder, "run"), cgroupParent);
  });

  after(async () => {
    await runtime[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  const create = (args: readonly string[], linux: Partial<Spec["linux"]> = {}, changes: Partial<Spec> = {}) => {
    const spec = specFor(args);
    return runtime.create({
      id: `s${count++}`,
      spec: { ...spec, ...changes, linux: { ...spec.linux, ...linux } },
      rootfs,
    });
  };
  const status = (pid: number | undefined, field: string) =>
    new RegExp(`^${field}:\\s*(.*)$`, "m").exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
  const text = (stream: ReadableStream | undefined) => new Response(stream).text();

  it("are in the container, with nothing of the daemon", async () => {
    const task = await create(["sh", "-c", "echo $$"], {}, { hostname: "inside" });
    const { pid } = task;
    assert.match(status(pid, "NSpid") ?? "", /^\d+\s+1$/);
    // The kernel wakes a process that sleeps for its child's execve a little before it gives the child its name.
    await until(() => status(pid, "Name")?.startsWith("memfd:mayfly"));
    for (const type of ["pid", "mnt", "net", "ipc", "uts", "cgroup"]) {
      assert.notEqual(readlinkSync(`/proc/${pid}/ns/${type}`), readlinkSync(`/proc/self/ns/${type}`), type);
    }
    assert.match(readFileSync(`/proc/${pid}/mountinfo`, "utf8"), / \/proc\/sys /);
    await task.start();
    assert.equal(task.pid, pid);
    assert.equal(await text(task.stdout), "1\n");
    assert.equal((await task.delete())?.code, 0);
  });

  it("can be killed, and are gone then", async () => {
    const events: TaskEvent[] = [];
    const stop = runtime.events((event) => events.push(event));
    const task = await create(["true"]);
    await task.kill();
    const exit = await task.wait();
    assert.deepEqual([exit.code, exit.signal, task.status], [137, 9, "stopped"]);
    await assert.rejects(task.start(), { code: "failed_precondition" });
    assert.equal(await task.delete(), undefined);
    stop();
    assert.deepEqual(events.map(({ type }) => type), ["create", "exit", "delete"]);
  });

  it("are started once", async () => {
    const task = await create(["sleep", "60"]);
    const [first, second] = await Promise.allSettled([task.start(), task.start()]);
    assert.equal(first?.status, "fulfilled");
    assert.equal(second?.status, "rejected");
    assert.equal((await task.delete())?.signal, 9);
  });

  it("are gone when their start fails", async () => {
    const events: TaskEvent[] = [];
    const stop = runtime.events((event) => events.push(event));
    const task = await create(["nonesuch"]);
    const { pid } = task;
    await assert.rejects(task.start(), { code: "not_found", details: { exitCode: 127 } });
    await assert.rejects(task.wait(), { code: "not_found" });
    assert.equal(task.status, "stopped");
    assert.equal(await task.delete(), undefined);
    assert.throws(() => process.kill(pid ?? 0, 0), { code: "ESRCH" });
    stop();
    assert.deepEqual(events.map(({ type }) => type), ["create", "delete"]);
  });

  it("are undone when a step fails, which is named", async () => {
    const mounts = [{ destination: "/x", type: "nofs", source: "nofs" }];
    await assert.rejects(create(["true"], {}, { mounts }), {
      code: "failed_precondition",
      message: /^cannot create container "s\d+": mount nofs on "\/x": no such device/,
      syscall: "mount",
      errno: "ENODEV",
    });
    assert.deepEqual(runtime.tasks(), []);
    assert.deepEqual(cgroupsOf(cgroupParent), []);
  });

  it("hold their id from the first moment", async () => {
    const options = { id: `s${count++}`, spec: specFor(["true"]), rootfs };
    const [first, second] = await Promise.allSettled([runtime.create(options), runtime.create(options)]);
    assert.equal(first?.status, "fulfilled");
    assert.equal(second?.status === "rejected" && second.reason.code, "already_exists");
    await runtime.delete(options.id);
  });

  it("join the pid namespace of another container", async () => {
    const first = await create(["sleep", "60"]);
    await first.start();
    const namespaces = specFor(["true"]).linux.namespaces?.map(({ type }) =>
      type === "pid" ? { type, path: `/proc/${first.pid}/ns/pid` } : { type }
    );
    const second = await create(["sh", "-c", "echo $$; cat /proc/1/cmdline"], { namespaces: namespaces ?? [] });
    await second.start();
    const output = await text(second.stdout);
    assert.match(output, /^[2-9]\d*\nsleep\0(?:60)\0$/);
    assert.equal((await second.delete())?.code, 0);
    assert.equal(first.status, "running");
    await first.delete();
  });

  it("join a mount namespace, and have their root in it", async () => {
    const aside = join(folder, "aside");
    mkdirSync(aside);
    const script = 'mount -t tmpfs aside "$1"; echo there > "$1/file"; echo ready; exec sleep 60';
    const holder = spawn("unshare", ["--mount", "sh", "-c", script, "sh", aside], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    try {
      await once(holder.stdout, "data");
      const path = `/proc/${holder.pid}/ns/mnt`;
      const namespaces = (specFor(["true"]).linux.namespaces ?? []).map((each) =>
        each.type === "mount" ? { ...each, path } : each
      );
      const bound = { destination: "/aside", type: "bind", source: aside, options: ["bind"] };
      const args = ["sh", "-c", "readlink /proc/self/ns/mnt; cat /aside/file; ls /; cat"];
      const base = specFor(args);
      const task = await create(args, { namespaces }, {
        mounts: [...base.mounts ?? [], bound],
        process: { ...base.process, oomScoreAdj: 500 },
      });
      await task.start();
      assert.equal(readFileSync(`/proc/${task.pid}/oom_score_adj`, "utf8"), "500\n");
      const beside = await demand(task, "exec").exec({
        id: "beside",
        process: { ...base.process, args: ["busybox", "readlink", "/proc/self/ns/mnt"] },
      });
      const wanted = readlinkSync(path);
      assert.equal(await text(beside.stdout), `${wanted}\n`);
      await task.stdin?.close();
      const [inside, file, ...names] = (await text(task.stdout)).trimEnd().split("\n");
      assert.deepEqual([inside, file], [wanted, "there"]);
      assert.ok(names.includes("proc") && !names.includes("boot"), names.join());
      assert.equal((await task.delete())?.code, 0);
    } finally {
      holder.kill();
    }
  });

  it("join no mount namespace that is the machine's, nor one with a user namespace", async () => {
    const mount = { type: "mount", path: "/proc/self/ns/mnt" } as const;
    await assert.rejects(create(["true"], { namespaces: [mount] }), {
      code: "invalid_argument",
      message: /mount namespace "\/proc\/self\/ns\/mnt": it is the machine's own/,
    });
    const before = runtime.tasks().length;
    const namespaces = [{ ...mount, path: "/proc/2/ns/none" }, { type: "user" }] as const;
    await assert.rejects(create(["true"], { namespaces }), {
      code: "invalid_argument",
      message: /it cannot be combined with a user namespace/,
    });
    assert.equal(runtime.tasks().length, before);
  });

  it("are gone when the runtime is disposed of", async () => {
    const parent = `${cgroupParent}-disposed`;
    const other = await nativeRuntime(join(folder, "run"), parent);
    const task = await other.create({ id: "waiting", spec: specFor(["true"]), rootfs });
    const pending = other.create({ id: "pending", spec: specFor(["true"]), rootfs });
    await other[Symbol.asyncDispose]();
    assert.throws(() => process.kill(task.pid ?? 0, 0), { code: "ESRCH" });
    assert.equal((await pending).status, "stopped");
    assert.deepEqual(cgroupsOf(parent), []);
  });
});
