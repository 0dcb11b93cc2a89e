import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { after, before, describe, it } from "node:test";
import type { NativeRuntime } from "../../runtimes/native/runtime.ts";
import { codeOf, type ErrorCode } from "../../src/core/errors.ts";
import type { Rootfs } from "../../src/core/mount.ts";
import type { TaskEvent } from "../../src/core/runtime.ts";
import type { Spec, SpecResources } from "../../src/core/spec.ts";
import { can, demand, type Task } from "../../src/core/task.ts";
import { currentHost } from "../../src/host/mod.ts";
import { detectLayout, type Layout } from "../../src/linux/cgroup/mod.ts";
import { Kernel } from "../../src/linux/kernel.ts";
import { makeBusyboxRoot } from "../support/busybox_image.ts";
import { busyboxRootfs, cgroupsOf, hasCgroups, idleCgroupsOf, nativeRuntime, specFor } from "./native_runtime.ts";

const isRoot = process.geteuid?.() === 0;
const detected = isRoot ? detectLayout(new Kernel(await currentHost())) : undefined;
const unified = detected?.hierarchies.filter(({ version }) => version === 2) ?? [];
const MiB = 1 << 20;
let count = 0;

const layouts: readonly (readonly [name: string, layout: Layout | undefined])[] = [
  ["this machine's cgroups", undefined],
  ...unified.length === 0 || unified.length === detected?.hierarchies.length ? [] : [
    [
      "cgroup v2 alone",
      {
        hierarchies: unified,
        find: (controller: string) => unified.find(({ controllers }) => controllers.includes(controller)),
      },
    ] as const,
  ],
];

for (const [name, layout] of layouts) {
  describe(`NativeTask on ${name}`, { skip: isRoot ? false : "it takes root" }, () => {
    const cgroupParent = `/mayfly-resources-${process.pid}-${count++}`;
    let folder: string;
    let runtime: NativeRuntime;
    let rootfs: Rootfs;
    let events: TaskEvent[] = [];
    const noMemory = (layout ?? detected)?.find("memory") === undefined ? "no memory controller here" : false;
    const noFreezer = (layout ?? detected)?.hierarchies.some(({ version, controllers }) =>
        version === 2 || controllers.includes("freezer")
      )
      ? false
      : "no freezer here";

    before(async () => {
      folder = mkdtempSync(join(tmpdir(), "mayfly-resources-"));
      makeBusyboxRoot(join(folder, "root"));
      rootfs = busyboxRootfs(join(folder, "root"));
      runtime = await nativeRuntime(join(folder, "run"), cgroupParent, layout);
      runtime.events((event) =>
        events.push(event)
      );
    });

    after(async () => {
      const left = cgroupsOf(cgroupParent);
      await runtime[Symbol.asyncDispose]();
      rmSync(folder, { recursive: true, force: true });
      assert.deepEqual(left, []);
      assert.equal(hasCgroups(cgroupParent), false);
    });

    /** Runs something with a script's task, and deletes it. */
    async function withTask<T>(script: string, use: (task: Task) => Promise<T>, changes?: Partial<Spec["linux"]>) {
      const spec = specFor(["sh", "-c", script]);
      const id = `r${count++}`;
      events = [];
      const task = await runtime.create({ id, spec: { ...spec, linux: { ...spec.linux, ...changes } }, rootfs });
      try {
        await task.start();
        return await use(task);
      } finally {
        await task.delete();
      }
    }

    const types = () => events.map(({ type }) => type);

    /** Reads what a task writes, a piece at a time. */
    function reader(task: Task): () => Promise<string> {
      const stream = task.stdout?.getReader();
      const decoder = new TextDecoder();
      return async () => decoder.decode((await stream?.read())?.value);
    }

    it("names what it can do", { skip: noFreezer }, async () => {
      for (const ability of ["pause", "update", "stats"] as const) assert.ok(runtime.abilities.has(ability), ability);
      const task = await runtime.create({ id: "able", spec: specFor(["true"]), rootfs });
      for (const ability of runtime.abilities) assert.ok(can(task, ability), ability);
      await assert.rejects(demand(task, "pause").pause(), code("failed_precondition"));
      await assert.rejects(demand(task, "pause").resume(), code("failed_precondition"));
      await task.delete();
      await assert.rejects(demand(task, "update").update({}), code("failed_precondition"));
    });

    it("pause() stops every process, resume() lets them go on", { skip: noFreezer }, async () => {
      await withTask("while read line; do echo $line; done", async (task) => {
        const read = reader(task);
        const writer = task.stdin?.getWriter();
        const write = (text: string) => writer?.write(new TextEncoder().encode(text));
        await write("one\n");
        assert.equal(await read(), "one\n");
        const pausing = demand(task, "pause");
        await pausing.pause();
        assert.equal(task.status, "paused");
        const pids = await demand(task, "stats").pids();
        assert.ok(pids.length >= 1);
        assert.ok((await demand(task, "stats").stats()) !== undefined);
        await assert.rejects(pausing.pause(), code("failed_precondition"));
        await write("two\n");
        const answered = read();
        const early = await Promise.race([answered, new Promise((resolve) => setTimeout(resolve, 100, "nothing"))]);
        assert.equal(early, "nothing");
        await pausing.resume();
        assert.equal(task.status, "running");
        assert.equal(await answered, "two\n");
        await assert.rejects(pausing.resume(), code("failed_precondition"));
        assert.deepEqual(types(), ["create", "start", "paused", "resumed"]);
        await writer?.close();
      });
    });

    it("a paused task can be killed, and deleted", { skip: noFreezer }, async () => {
      for (const all of [false, true]) {
        await withTask("sleep 60 & sleep 60", async (task) => {
          await demand(task, "pause").pause();
          await task.kill(9, { all });
          assert.equal((await task.wait()).signal, 9);
          await assert.rejects(demand(task, "pause").resume(), code("failed_precondition"));
          await assert.rejects(demand(task, "pause").pause(), code("failed_precondition"));
        });
      }
      await withTask("sleep 60", (task) => demand(task, "pause").pause());
      assert.deepEqual(types(), ["create", "start", "paused", "exit", "delete"]);
    });

    it("a paused task takes other signals when it goes on", { skip: noFreezer }, async () => {
      await withTask("trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done", async (task) => {
        assert.equal(await reader(task)(), "ready\n");
        await demand(task, "pause").pause();
        await task.kill(15);
        assert.equal(task.status, "paused");
        await demand(task, "pause").resume();
        assert.equal((await task.wait()).code, 7);
      });
    });

    it("a task that is killed while it is paused is gone", { skip: noFreezer }, async () => {
      await withTask("sleep 60", async (task) => {
        const paused = demand(task, "pause").pause();
        await task.kill();
        await paused.catch(() => {});
        assert.equal((await task.wait()).signal, 9);
        assert.equal(task.status, "stopped");
      });
    });

    it("what it forks while it is paused stands too", { skip: noFreezer }, async () => {
      await withTask("while :; do true & done", async (task) => {
        for (let round = 0; round < 5; round++) {
          await demand(task, "pause").pause();
          const [before, after] = [await statesOf(task), await statesOf(task)];
          assert.deepEqual(after, before);
          await demand(task, "pause").resume();
        }
      }, noMemory === false ? { resources: { pids: { limit: 64 } } } : {});
    });

    async function statesOf(task: Task): Promise<readonly string[]> {
      const pids = await demand(task, "stats").pids();
      // Page faults: whoever runs has some. Its state says little, since a signal wakes it for a moment.
      return pids.map((pid) => readFileSync(`/proc/${pid}/stat`, "utf8").split(" ").slice(0, 11).with(2, "").join(" "));
    }

    it("kill(all) reaches every process, also behind init", async () => {
      const namespaces = specFor(["true"]).linux.namespaces?.filter(({ type }) => type !== "pid") ?? [];
      const script = "sleep 60 & echo $!; sleep 60";
      await withTask(script, async (task) => {
        const child = Number(await reader(task)());
        assert.ok(existsSync(`/proc/${child}`));
        await task.kill();
        await task.wait();
        assert.ok(existsSync(`/proc/${child}`));
        await task.kill(9, { all: true });
        const deadline = Date.now() + 5000;
        while (existsSync(`/proc/${child}`) && !/^State:\s+Z/m.test(readFileSync(`/proc/${child}/status`, "utf8"))) {
          assert.ok(Date.now() < deadline);
          await new Promise((resolve) => setTimeout(resolve, 2));
        }
      }, { namespaces });
      await withTask(
        "trap '' TERM; (trap 'echo child; exit' TERM; echo up; while :; do sleep 0.01; done) & wait; wait",
        async (task) => {
          const read = reader(task);
          assert.equal(await read(), "up\n");
          await task.kill(15, { all: true });
          assert.equal(await read(), "child\n");
          await assert.rejects(task.kill(65), code("invalid_argument"));
          await assert.rejects(task.kill(65, { all: true }), code("invalid_argument"));
        },
      );
    });

    it("update() changes what it names, and its cgroup is nobody else's", { skip: noMemory }, async () => {
      const resources: SpecResources = { memory: { limit: 64 * MiB, swap: 64 * MiB }, pids: { limit: 32 } };
      const fileOf = (task: Task, ...names: string[]) => {
        for (const path of cgroupsOf(cgroupParent).filter((each) => each.endsWith(`/${task.id}`))) {
          for (const file of names) {
            if (existsSync(join(path, file))) return readFileSync(join(path, file), "utf8").trim();
          }
        }
        return undefined;
      };
      const idle = idleCgroupsOf(cgroupParent);
      await withTask("sleep 60", async (task) => {
        const updating = demand(task, "update");
        await updating.update({ memory: { limit: 128 * MiB, swap: 128 * MiB } });
        assert.equal(fileOf(task, "memory.limit_in_bytes", "memory.max"), String(128 * MiB));
        assert.equal(fileOf(task, "pids.max"), "32");
        await updating.update({ memory: { limit: 32 * MiB, swap: 32 * MiB }, cpu: { quota: 20_000 } });
        assert.equal(fileOf(task, "memory.limit_in_bytes", "memory.max"), String(32 * MiB));
        assert.match(fileOf(task, "cpu.cfs_quota_us", "cpu.max") ?? "", /^20000\b/);
        await updating.update({ cpu: { period: 50_000 } });
        assert.match(fileOf(task, "cpu.cfs_quota_us", "cpu.max") ?? "", /^20000\b/);
        await updating.update({ cpu: { cpus: "0" } });
        assert.equal(fileOf(task, "cpuset.cpus"), "0");
        const pids = { limit: 7 };
        await assert.rejects(updating.update({ pids, cpu: { cpus: "4000" } }), code("invalid_argument"));
        assert.equal(fileOf(task, "pids.max"), "32");
        await demand(task, "pause").pause();
        await updating.update({ pids });
        assert.equal(fileOf(task, "pids.max"), "7");
      }, { resources });
      assert.deepEqual(idleCgroupsOf(cgroupParent).filter((path) => !idle.includes(path)), []);
      assert.deepEqual(cgroupsOf(cgroupParent), []);
    });
  });
}

const code = (wanted: ErrorCode) => (error: unknown) => {
  assert.equal(codeOf(error), wanted, String(error));
  return true;
};
