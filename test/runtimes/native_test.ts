import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { after, before, describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import type { NativeRuntime } from "../../runtimes/native/runtime.ts";
import { codeOf, messageOf } from "../../src/core/errors.ts";
import type { Rootfs } from "../../src/core/mount.ts";
import type { Runtime } from "../../src/core/runtime.ts";
import type { Spec, SpecResources } from "../../src/core/spec.ts";
import { currentHost } from "../../src/host/mod.ts";
import { detectLayout, type Layout } from "../../src/linux/cgroup/mod.ts";
import { PR_GET_DUMPABLE } from "../../src/linux/flags.ts";
import { Kernel } from "../../src/linux/kernel.ts";
import { testRuntime } from "../contract/runtime/mod.ts";
import { workingCriu } from "../support/criu.ts";
import { makeBusyboxRoot } from "../support/busybox_image.ts";
import { openFiles } from "../support/descriptors.ts";
import { until } from "../support/until.ts";
import {
  busyboxRootfs,
  cgroupsOf,
  hasCgroups,
  idleCgroupsOf,
  nativeRuntime,
  removeCgroups,
  specFor,
} from "./native_runtime.ts";

const host = await currentHost();
const kernel = new Kernel(host);
const isRoot = process.geteuid?.() === 0;
const MiB = 1024 * 1024;
let count = 0;

/** Why there is no CRIU here, and its path where there is one. A virtual machine's kernel may lack what it takes. */
const [noCriu, criu] = ((): readonly [string] | readonly [undefined, string] => {
  try {
    return [undefined, workingCriu()];
  } catch (error) {
    return [messageOf(error)];
  }
})();

interface Variant {
  readonly layout?: Layout;
  /** Whether a task's process is made at its start alone. */
  readonly lazy?: boolean;
  readonly options?: Parameters<typeof testRuntime>[2];
}

async function onHierarchies(name: string, { layout, lazy, options }: Variant = {}): Promise<void> {
  if (!isRoot) return;
  const cgroupParent = `/mayfly-test-${process.pid}-${count++}`;
  const own = mkdtempSync(join(tmpdir(), "mayfly-native-"));
  const runtime = await nativeRuntime(join(own, "run"), cgroupParent, { layout, criu });
  testRuntime(name, async () => ({
    runtime: lazy === true ? madeAtStart(runtime) : runtime,
    leftovers: () => cgroupsOf(cgroupParent),
    close: async () => {
      await runtime[Symbol.asyncDispose]();
      rmSync(own, { recursive: true });
      assert.equal(hasCgroups(cgroupParent), false);
    },
  }), { abilities: runtime.abilities, noCheckpoints: "they are the same on all hierarchies", ...options });
}

function madeAtStart(runtime: Runtime): Runtime {
  return {
    id: runtime.id,
    abilities: runtime.abilities,
    create: (options) => runtime.create({ ...options, lazy: true }),
    tasks: () => runtime.tasks(),
    load: (id) => runtime.load(id),
    delete: (id) => runtime.delete(id),
    events: (listener) => runtime.events(listener),
    recover: () => runtime.recover(),
  };
}

await onHierarchies("native", { options: { noCheckpoints: noCriu } });
await onHierarchies("native, process made at start", { lazy: true });

const detected = isRoot ? detectLayout(kernel) : undefined;
const unified = detected?.hierarchies.filter(({ version }) => version === 2) ?? [];
if (unified.length > 0 && detected?.hierarchies.length !== unified.length) {
  const find = (controller: string) => unified.find(({ controllers }) => controllers.includes(controller));
  const noLimits = find("memory") === undefined ? "cgroup v2 has no controllers here" : undefined;
  await onHierarchies("native on cgroup v2 alone", {
    layout: { hierarchies: unified, find },
    options: noLimits === undefined ? {} : { noLimits },
  });
}

const rename = detected?.hierarchies.some(({ version }) => version === 1) ? false : "cgroup v2 cannot rename";

describe("NativeRuntime", { skip: isRoot ? false : "it takes root" }, () => {
  const cgroupParent = `/mayfly-test-${process.pid}-${count++}`;
  let folder: string;
  let runtime: NativeRuntime;
  let rootfs: Rootfs;

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "mayfly-native-"));
    makeBusyboxRoot(join(folder, "root"));
    rootfs = busyboxRootfs(join(folder, "root"));
    runtime = await nativeRuntime(join(folder, "run"), cgroupParent);
  });

  after(async () => {
    await runtime[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  function limited(script: string, resources: SpecResources): Spec {
    const spec = specFor(["sh", "-c", script]);
    return { ...spec, linux: { ...spec.linux, resources } };
  }

  async function outputOf(args: readonly string[], root: Rootfs = rootfs): Promise<string> {
    const task = await runtime.create({ id: `n${count++}`, spec: specFor(args), rootfs: root });
    try {
      await task.start();
      const output = await new Response(task.stdout).text();
      assert.equal((await task.wait()).code, 0);
      return output;
    } finally {
      await task.delete();
    }
  }

  it("makes this process undumpable", () => {
    assert.equal(kernel.call("prctl", PR_GET_DUMPABLE), 0);
  });

  it("mounts 128 layers, whose paths take more than a page", async () => {
    const layers = Array.from(
      { length: 128 },
      (_, index) => join(folder, "layers-in-a-folder-with-a-long-name", `${index}`, "fs"),
    );
    for (const [index, layer] of layers.entries()) {
      mkdirSync(layer, { recursive: true });
      writeFileSync(join(layer, `file${index}`), "");
      writeFileSync(join(layer, "top"), String(index));
    }
    const lowerdir = `lowerdir=${[...layers, join(folder, "root")].join(":")}`;
    assert.ok(lowerdir.length > 4096);
    const root = {
      mounts: [{ type: "overlay", source: "overlay", options: ["ro", lowerdir] }],
      scratch: rootfs.scratch!,
    };
    assert.equal(await outputOf(["sh", "-c", "ls / | busybox grep -c file; cat /top; echo x > /top"], root), "128\n0");
  });

  it("keeps an overlay's changes where its mounts say", async () => {
    const [upper, work] = [join(folder, "upper"), join(folder, "work")];
    mkdirSync(upper);
    mkdirSync(work);
    const options = [`lowerdir=${join(folder, "root")}`, `upperdir=${upper}`, `workdir=${work}`];
    await outputOf(["sh", "-c", "echo x > /kept"], { mounts: [{ type: "overlay", source: "overlay", options }] });
    assert.ok(readdirSync(upper).includes("kept"));
  });

  it("refuses a scratch layer over what is no layer", async () => {
    const root = { mounts: [{ type: "tmpfs", source: "tmpfs", options: [] }], scratch: { sizeBytes: 1 } };
    await refused({ id: "n", spec: specFor(["true"]), rootfs: root }, "invalid_argument", "scratch");
    assert.deepEqual(cgroupsOf(cgroupParent), []);
  });

  const refused = async (options: Parameters<typeof runtime.create>[0], code: string, word: string) => {
    await assert.rejects(runtime.create(options), (error: unknown) => {
      assert.equal(codeOf(error), code, String(error));
      assert.ok(String(error).includes(word), String(error));
      return true;
    });
  };

  const spec = specFor(["true"]);
  const unsupported: readonly (readonly [field: string, spec: Spec])[] = [
    ["linux.intelRdt", { ...spec, linux: { ...spec.linux, intelRdt: { closID: "x" } } }],
  ];
  for (const [field, changed] of unsupported) {
    it(`create() names ${field} as not supported`, () =>
      refused({ id: "n", spec: changed, rootfs }, "unimplemented", field));
  }

  it("gives no more than the daemon has", async () => {
    const status = await import("node:fs").then(({ readFileSync }) => readFileSync("/proc/self/status", "utf8"));
    const permitted = BigInt(`0x${/^CapPrm:\s*(\w+)$/m.exec(status)?.[1]}`);
    if ((permitted >> 24n & 1n) === 1n) return; // It has CAP_SYS_RESOURCE: there is nothing to refuse.
    const asking = (process: Partial<Spec["process"]>) => ({
      id: "n",
      spec: { ...spec, process: { ...spec.process, ...process } },
      rootfs,
    });
    await refused(asking({ oomScoreAdj: -500 }), "permission_denied", "oom_score_adj");
    await refused(
      asking({ capabilities: { bounding: ["CAP_SYS_RESOURCE"] } }),
      "permission_denied",
      "CAP_SYS_RESOURCE",
    );
    const rlimits = [{ type: "RLIMIT_NOFILE", soft: 1, hard: 2 ** 63 }];
    await refused(asking({ rlimits }), "permission_denied", "RLIMIT_NOFILE");
  });

  it("keeps no descriptors", async () => {
    const run = () => outputOf(["echo", "x"]);
    await Promise.all(Array.from({ length: 8 }, run));
    const open = () => readdirSync("/proc/self/fd").length;
    const settled = async () => {
      // Streams close their descriptors some turns after their end.
      for (let last = -1, now = open(); last !== now; last = now, now = open()) {
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
      return open();
    };
    const before = await settled();
    for (let round = 0; round < 4; round++) await Promise.all(Array.from({ length: 8 }, run));
    const unread = await runtime.create({ id: "unread", spec: specFor(["echo", "x"]), rootfs });
    await unread.start();
    await unread.wait();
    await unread.delete();
    const failing = await runtime.create({ id: "failing", spec: specFor(["/nonesuch"]), rootfs });
    await assert.rejects(failing.start());
    await failing.delete();
    assert.ok(await settled() <= before, `${open()} are open, ${before} were before`);
  });

  it("a container that waits is its user already, behind its filter where that lets it go on", async () => {
    const user = { uid: 1000, gid: 1000 };
    for (const [denied, filtered] of [["mount", "2"], ["faccessat", "0"]] as const) {
      const syscalls = [{ names: [denied], action: "SCMP_ACT_KILL_PROCESS" as const }];
      const { process, linux, ...rest } = specFor(["/bin/true"]);
      const spec = {
        ...rest,
        process: { ...process, user, noNewPrivileges: true },
        linux: { ...linux, seccomp: { defaultAction: "SCMP_ACT_ALLOW" as const, syscalls } },
      };
      const task = await runtime.create({ id: `waits-${denied}`, spec, rootfs });
      const status = () => readFileSync(`/proc/${task.pid}/status`, "utf8");
      await until(() => /^Uid:\t1000\t1000\t1000/m.test(status()) && /^NoNewPrivs:\t1$/m.test(status()));
      await until(() => new RegExp(`^Seccomp:\t${filtered}$`, "m").test(status()));
      await task.start();
      assert.equal((await task.wait()).code, 0);
      await task.delete();
    }
  });

  it("tells the end of a container that waited before its mounts are gone, and delete() takes them down", async () => {
    const held = () => openFiles().filter((target) => target.startsWith("mnt:"));
    const before = held().length;
    const task = await runtime.create({ id: "mounts", spec: specFor(["/bin/true"]), rootfs });
    const more = held().length - before;
    await task.start();
    const exit = await task.wait();
    assert.equal(held().length - before, more);
    await task.delete();
    assert.equal(held().length, before);
    assert.ok((exit.usage.cpuMicros ?? 1) > 0);
  });

  it("sets nothing up where a limit is refused by the kernel", async () => {
    const resources = { memory: { limit: 4096, swap: 1 } };
    const changed = { ...spec, linux: { ...spec.linux, resources } };
    await assert.rejects(runtime.create({ id: "n", spec: changed, rootfs }), (error: unknown) => {
      assert.ok(["invalid_argument", "failed_precondition"].includes(codeOf(error)), String(error));
      return true;
    });
    assert.deepEqual(cgroupsOf(cgroupParent), []);
  });

  it("containers die with the daemon, and recover() removes what it left", async () => {
    const program = fileURLToPath(new URL("./native_daemon.ts", import.meta.url));
    const parent = `${cgroupParent}-killed`;
    const flags = host.name === "deno" ? ["run", "-A", "--no-check", program] : [program];
    const daemon = spawn(process.execPath, [...flags, folder, parent, "4"], { stdio: ["ignore", "pipe", "inherit"] });
    const [line] = await once(daemon.stdout, "data");
    const pids = String(line).trim().split(" ").map(Number);
    assert.equal(pids.length, 4);
    assert.ok(pids.every(isAlive));
    daemon.kill("SIGKILL");
    await once(daemon, "exit");
    const deadline = Date.now() + 5000;
    while (pids.some(isAlive)) {
      assert.ok(Date.now() < deadline, "containers outlive their daemon");
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    assert.equal(cgroupsOf(parent).length > 0, true);
    const next = await nativeRuntime(join(folder, "run"), parent);
    assert.deepEqual([...await next.recover()].sort(), ["killed-0", "killed-1", "killed-2", "killed-3"]);
    assert.deepEqual(cgroupsOf(parent), []);
    assert.deepEqual(await next.recover(), []);
    removeCgroups(parent);
  });

  it("kills and deletes what is being started", async () => {
    for (const end of ["kill", "delete"] as const) {
      const task = await runtime.create({ id: `early-${end}`, spec: specFor(["sleep", "60"]), rootfs, lazy: true });
      const started = task.start();
      await task[end]();
      await started;
      assert.equal((await task.wait()).signal, 9);
      await task.delete();
    }
  });

  it("leaves no cgroup of its own when it is disposed of", async () => {
    const parent = `${cgroupParent}-disposed`;
    const next = await nativeRuntime(join(folder, "run"), parent);
    const task = await next.create({ id: "x", spec: specFor(["sleep", "60"]), rootfs });
    await task.start();
    await next[Symbol.asyncDispose]();
    assert.equal((await task.wait()).signal, 9);
    assert.equal(hasCgroups(parent), false);
  });

  it("uses a cgroup again, as new, and only for a while", { skip: rename }, async () => {
    const settings = { memory: { limit: 64 << 20 }, pids: { limit: 32 }, devices: [{ allow: true }] };
    const run = async (script: string, resources: SpecResources = settings) => {
      const task = await runtime.create({ id: `again${count++}`, spec: limited(script, resources), rootfs });
      await task.start();
      const inodes = cgroupsOf(cgroupParent).filter((path) => path.endsWith(task.id)).map((path) => statSync(path).ino);
      const { usage, oomKilled } = await task.wait();
      await task.delete();
      return { ...usage, oomKilled, inodes };
    };
    const first = await run("i=0; while [ $i -lt 50000 ]; do i=$((i+1)); done");
    const second = await run("true");
    assert.deepEqual(second.inodes, first.inodes);
    assert.ok(Number(second.cpuMicros) < Number(first.cpuMicros) / 2, `${second.cpuMicros} after ${first.cpuMicros}`);
    // What the one used is not told of the other.
    const large = await run("head -c 700000 /dev/zero > /tmp/x");
    const small = await run("true");
    assert.ok(Number(small.memoryPeakBytes) <= Number(large.memoryPeakBytes) + MiB);
    // Other limits, even the same numbers, are another's.
    assert.notDeepEqual((await run("true", { ...settings })).inodes, small.inodes);
    // One that ran out of memory, and one that could have changed its cgroup, are not kept.
    const tight = { ...settings, memory: { limit: 8 << 20, swap: 8 << 20 } };
    const killed = await run("x=$(head -c 30000000 /dev/zero | tr '\\0' x)", tight);
    assert.ok(killed.oomKilled);
    assert.notDeepEqual((await run("true", tight)).inodes, killed.inodes);
    const deadline = Date.now() + 5000;
    while (idleCgroupsOf(cgroupParent).length > 0) {
      assert.ok(Date.now() < deadline, "unused cgroups stay");
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  });

  it("does not use a cgroup again that its container could have changed", async () => {
    const spec = limited("true", { pids: { limit: 32 } });
    const writable = spec.mounts?.map((mount) => mount.type === "cgroup" ? { ...mount, options: ["rw"] } : mount);
    const { seccomp: _, ...unfiltered } = spec.linux;
    const administrator = { ...spec.process.capabilities, bounding: ["CAP_SYS_ADMIN"] };
    for (
      const changed of [
        { ...spec, mounts: writable ?? [] },
        { ...spec, linux: unfiltered },
        { ...spec, process: { ...spec.process, capabilities: administrator } },
        { ...spec, linux: { ...spec.linux, cgroupsPath: "elsewhere" } },
      ]
    ) {
      const idle = idleCgroupsOf(cgroupParent).length;
      const task = await runtime.create({ id: `changed${count++}`, spec: changed, rootfs });
      await task.start();
      await task.wait();
      await task.delete();
      assert.ok(idleCgroupsOf(cgroupParent).length <= idle);
    }
  });

  it("recover() kills what is left in a cgroup", async () => {
    const survivor = spawn("/bin/busybox", ["sleep", "60"]);
    const task = await runtime.create({ id: "left", spec: specFor(["sleep", "60"]), rootfs });
    for (const path of cgroupsOf(cgroupParent)) writeFileSync(join(path, "cgroup.procs"), String(survivor.pid));
    const next = await nativeRuntime(join(folder, "run"), cgroupParent);
    const exited = once(survivor, "exit");
    assert.deepEqual(await next.recover(), ["left"]);
    assert.deepEqual((await exited)[1], "SIGKILL");
    await task.delete();
  });
});

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
