import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
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
import { networkUsage } from "../../src/linux/network_usage.ts";
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
      runtime = await nativeRuntime(join(folder, "run"), cgroupParent, { layout });
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

    const version = (controller: string) => (layout ?? detected)?.find(controller)?.version;

    /** What the first of these files says that a task's cgroups have. */
    const fileOf = (task: Task, ...names: readonly string[]) => {
      for (const path of cgroupsOf(cgroupParent).filter((each) => each.endsWith(`/${task.id}`))) {
        for (const file of names) {
          if (existsSync(join(path, file))) return readFileSync(join(path, file), "utf8").trim();
        }
      }
      return undefined;
    };

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
      await withTask("while :; do (true); done", async (task) => {
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

    it("writes every limit that this machine has a controller for", { skip: noMemory }, async () => {
      const wanted: readonly (readonly [resources: SpecResources, files: readonly string[], value: string])[] = [
        [{ memory: { limit: 64 * MiB } }, ["memory.limit_in_bytes", "memory.max"], String(64 * MiB)],
        [{ memory: { limit: -1 } }, ["memory.limit_in_bytes", "memory.max"], "9223372036854771712|max"],
        [{ memory: { reservation: 32 * MiB } }, ["memory.soft_limit_in_bytes", "memory.low"], String(32 * MiB)],
        [{ cpu: { shares: 512 } }, ["cpu.shares", "cpu.weight"], "512|20"],
        [{ cpu: { quota: 40_000, period: 80_000, burst: 10_000 } }, ["cpu.cfs_burst_us", "cpu.max.burst"], "10000"],
        [{ cpu: { period: 50_000 } }, ["cpu.cfs_period_us", "cpu.max"], "50000|max 50000"],
        [{ cpu: { idle: 1 } }, ["cpu.idle"], "1"],
        [{ cpu: { cpus: "0", mems: "0" } }, ["cpuset.cpus"], "0"],
        [{ pids: { limit: 9 } }, ["pids.max"], "9"],
        [{ pids: { limit: -1 } }, ["pids.max"], "max"],
        ...version("memory") !== 1 ? [] : [
          [{ memory: { limit: 64 * MiB, swap: 96 * MiB } }, ["memory.memsw.limit_in_bytes"], String(96 * MiB)],
          [{ memory: { limit: -1 } }, ["memory.memsw.limit_in_bytes"], "9223372036854771712"],
          [{ memory: { swappiness: 10 } }, ["memory.swappiness"], "10"],
          [{ memory: { kernelTCP: MiB } }, ["memory.kmem.tcp.limit_in_bytes"], String(MiB)],
          [
            { memory: { disableOOMKiller: true } },
            ["memory.oom_control"],
            "oom_kill_disable 1\nunder_oom 0\noom_kill 0",
          ],
        ] as const,
        ...version("cpu") !== 1 ? [] : [
          [{ cpu: { realtimePeriod: 500_000, realtimeRuntime: 1000 } }, ["cpu.rt_runtime_us"], "1000"],
        ] as const,
        ...version("hugetlb") !== 2 ? [] : [
          [{ hugepageLimits: [{ pageSize: "2MB", limit: 4 * MiB }] }, ["hugetlb.2MB.max"], String(4 * MiB)],
          [{ hugepageLimits: [{ pageSize: "2MB", limit: 4 * MiB }] }, ["hugetlb.2MB.rsvd.max"], String(4 * MiB)],
          [{ unified: { "hugetlb.2MB.max": String(2 * MiB) } }, ["hugetlb.2MB.max"], String(2 * MiB)],
        ] as const,
      ];
      for (const [resources, files, value] of wanted) {
        await withTask("sleep 60", async (task) => {
          assert.ok(value.split("|").includes(fileOf(task, ...files) ?? ""), `${files}: ${fileOf(task, ...files)}`);
        }, { resources });
        // The same while it runs.
        await withTask("sleep 60", async (task) => {
          await demand(task, "update").update(resources);
          assert.ok(
            value.split("|").includes(fileOf(task, ...files) ?? ""),
            `update ${files}: ${fileOf(task, ...files)}`,
          );
        });
      }
    });

    describe("want for memory", { skip: noMemory }, () => {
      const tight = { resources: { memory: { limit: 16 * MiB, swap: 16 * MiB } } };
      const eat = "x=$(head -c 60000000 /dev/zero | tr '\\0' x)";

      it("is told while the task runs, and before its end", async () => {
        // The kernel would take the shell for it at times.
        await withTask(`(echo 1000 > /proc/self/oom_score_adj; ${eat}); echo survived; read line`, async (task) => {
          const read = reader(task);
          const told = new Promise<void>((resolve) => {
            const stop = runtime.events(({ type, id }) => {
              if (type !== "oom" || id !== task.id) return;
              stop();
              resolve();
            });
          });
          assert.equal(await read(), "survived\n");
          await told;
          assert.equal(task.status, "running");
          const writer = task.stdin?.getWriter();
          await writer?.write(new TextEncoder().encode("\n"));
          const exit = await task.wait();
          await writer?.close().catch(() => {});
          assert.equal(exit.code, 0);
          assert.equal(exit.oomKilled, true);
        }, tight);
        const kinds = types();
        assert.deepEqual(kinds.filter((type) => type !== "oom"), ["create", "start", "exit", "delete"]);
        assert.ok(kinds.indexOf("oom") > 1 && kinds.lastIndexOf("oom") < kinds.indexOf("exit"), kinds.join());
      });

      it("is told before the end where it is the end", async () => {
        await withTask(`exec ${"dd if=/dev/zero of=/dev/shm/x bs=1M count=60"}`, async (task) => {
          assert.equal((await task.wait()).oomKilled, true);
        }, tight);
        assert.deepEqual(types(), ["create", "start", "oom", "exit", "delete"]);
      });

      it("is told from other kills", async () => {
        await withTask("sleep 60", async (task) => {
          await task.kill();
          assert.equal((await task.wait()).oomKilled, false);
        }, tight);
        assert.deepEqual(types(), ["create", "start", "exit", "delete"]);
      });

      it("is told where nobody is killed for it", { skip: version("memory") === 2 }, async () => {
        const memory = { ...tight.resources.memory, disableOOMKiller: true };
        await withTask(eat, async (task) => {
          await new Promise<void>((resolve) => {
            const stop = runtime.events(({ type }) => type === "oom" && (stop(), resolve()));
            demand(task, "stats");
          });
          await task.kill();
        }, { resources: { memory } });
      });

      it("ends with its relay", async () => {
        const other = await nativeRuntime(join(folder, "other"), `${cgroupParent}-other`, { layout });
        const stop = other.events(() => {});
        const relays = () =>
          readdirSync("/proc").filter((pid) => /^\d+$/.test(pid)).filter((pid) => {
            try {
              return readFileSync(`/proc/${pid}/cmdline`, "utf8").startsWith("mayfly-init") &&
                readFileSync(`/proc/${pid}/stat`, "utf8").split(" ")[3] === String(process.pid);
            } catch {
              return false;
            }
          }).length;
        const before = relays();
        const task = await other.create({ id: "watched", spec: specFor(["true"]), rootfs });
        await task.start();
        await task.wait();
        await task.delete();
        assert.equal(relays(), before + 1);
        stop();
        await other[Symbol.asyncDispose]();
        assert.equal(relays(), before);
      });
    });

    it("tells what goes through a network of its own, and not of the loopback's", async () => {
      const script = "(echo hi | nc -l -p 80 -w 2 &); sleep 0.2; nc 127.0.0.1 80 </dev/null; echo done; sleep 60";
      await withTask(script, async (task) => {
        const read = reader(task);
        for (let text = ""; !text.includes("done");) text += await read();
        const { networkReceivedBytes, networkSentBytes } = await demand(task, "stats").stats();
        assert.deepEqual([networkReceivedBytes, networkSentBytes], [0, 0]);
        const { networkReceivedBytes: own } = networkUsage(new Kernel(await currentHost()), process.pid);
        assert.equal(typeof own, "number");
        // Where it has the host's, that is not the container's.
        const namespaces = specFor(["true"]).linux.namespaces?.filter(({ type }) => type !== "network") ?? [];
        await withTask("sleep 60", async (other) => {
          const stats = await demand(other, "stats").stats();
          assert.equal(stats.networkReceivedBytes, undefined);
        }, { namespaces });
      });
    });

    it("throttles a device", { skip: version("blkio") === undefined && version("io") === undefined }, async () => {
      const [line] = readFileSync("/proc/partitions", "utf8").split("\n").slice(2);
      const [major, minor] = (line ?? "").trim().split(/\s+/).map(Number);
      if (major === undefined || minor === undefined || Number.isNaN(minor)) return;
      const rates = [{ major, minor, rate: MiB }];
      const resources = { blockIO: { throttleReadBpsDevice: rates, throttleWriteIOPSDevice: rates } };
      await withTask("sleep 60", async (task) => {
        const [read, write] = [
          fileOf(task, "blkio.throttle.read_bps_device", "io.max"),
          fileOf(task, "blkio.throttle.write_iops_device", "io.max"),
        ];
        assert.ok(read?.startsWith(`${major}:${minor} `), read);
        assert.ok(read?.includes(String(MiB)) && write?.includes(String(MiB)), write);
      }, { resources });
    });

    it("refuses by name what it cannot limit, before anything is made", async () => {
      const refusals: readonly (readonly [resources: SpecResources, field: string, codes: readonly ErrorCode[]])[] = [
        [{ rdma: { mlx5_1: { hcaHandles: 1 } } }, "rdma", ["failed_precondition"]],
        [{ network: { classID: 1 } }, "network.classID", ["failed_precondition"]],
        [{ network: { priorities: [{ name: "lo", priority: 1 }] } }, "network.priorities", ["failed_precondition"]],
        [{ hugepageLimits: [{ pageSize: "3KB", limit: 1 }] }, "hugepageLimits[0]", ["failed_precondition"]],
        [{ unified: { "../x.y": "1" } }, "unified", ["invalid_argument"]],
        [{ unified: { "nosuch.max": "1" } }, "unified", ["failed_precondition"]],
        [{ unified: { "cgroup.nosuch": "1" } }, "unified", ["failed_precondition"]],
        [{ cpu: { cpus: "4000" } }, "cpu.cpus", ["invalid_argument", "failed_precondition"]],
        [{ memory: { swappiness: 1000 } }, "memory.swappiness", [
          "invalid_argument",
          "failed_precondition",
          "unimplemented",
        ]],
        [{ blockIO: { leafWeight: 10 } }, "blockIO.leafWeight", ["failed_precondition", "unimplemented"]],
        [{ cpu: { realtimeRuntime: 2_000_000 } }, "cpu.realtimeRuntime", [
          "invalid_argument",
          "failed_precondition",
          "unimplemented",
        ]],
      ];
      for (const [resources, field, codes] of refusals) {
        const spec = specFor(["true"]);
        const options = { id: "refused", spec: { ...spec, linux: { ...spec.linux, resources } }, rootfs };
        await assert.rejects(runtime.create(options), (error: unknown) => {
          assert.ok(codes.includes(codeOf(error)), String(error));
          assert.ok(String(error).includes(field), String(error));
          return true;
        }, field);
        assert.deepEqual(cgroupsOf(cgroupParent), [], field);
      }
      assert.deepEqual(runtime.tasks(), []);
    });

    it("update() minds what is in use where it is asked to", { skip: noMemory }, async () => {
      await withTask("head -c 20000000 /dev/zero > /dev/shm/x; echo full; sleep 60", async (task) => {
        assert.equal(await reader(task)(), "full\n");
        const memory = { limit: 8 * MiB, checkBeforeUpdate: true };
        await assert.rejects(demand(task, "update").update({ memory }), code("failed_precondition"));
      });
    });

    it("update() changes what it names, and its cgroup is nobody else's", { skip: noMemory }, async () => {
      const resources: SpecResources = { memory: { limit: 64 * MiB, swap: 64 * MiB }, pids: { limit: 32 } };
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
