import assert from "node:assert/strict";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { after, before, describe, it } from "node:test";
import type { NativeRuntime } from "../../runtimes/native/runtime.ts";
import { codeOf, type ErrorCode } from "../../src/core/errors.ts";
import type { Rootfs } from "../../src/core/mount.ts";
import type { Spec, SpecProcess } from "../../src/core/spec.ts";
import { demand, type Task } from "../../src/core/task.ts";
import { makeBusyboxRoot } from "../support/busybox_image.ts";
import { busyboxRootfs, nativeRuntime, specFor } from "./native_runtime.ts";

let count = 0;

describe("what a native process is made of", { skip: process.geteuid?.() === 0 ? false : "it takes root" }, () => {
  let folder: string;
  let runtime: NativeRuntime;
  let rootfs: Rootfs;

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "mayfly-process-"));
    makeBusyboxRoot(join(folder, "root"));
    rootfs = busyboxRootfs(join(folder, "root"));
    runtime = await nativeRuntime(join(folder, "run"), `/mayfly-process-${process.pid}`);
  });

  after(async () => {
    await runtime[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  interface Changes {
    readonly process?: Partial<SpecProcess>;
    readonly linux?: Partial<Spec["linux"]>;
  }

  async function create(script: string, changes: Changes): Promise<Task> {
    const base = specFor(["sh", "-c", script]);
    const spec = {
      ...base,
      process: { ...base.process, ...changes.process },
      linux: { ...base.linux, ...changes.linux },
    };
    return await runtime.create({ id: `p${count++}`, spec, rootfs });
  }

  async function output(script: string, changes: Changes): Promise<string> {
    const task = await create(script, changes);
    try {
      await task.start();
      const [stdout, stderr] = await Promise.all(
        [task.stdout, task.stderr].map((stream) => new Response(stream).text()),
      );
      assert.equal((await task.wait()).code, 0, stderr);
      return stdout?.trim() ?? "";
    } finally {
      await task.delete();
    }
  }

  /** Policy, nice value and real-time priority, as the kernel tells them of the shell. */
  async function scheduling(scheduler: NonNullable<SpecProcess["scheduler"]>, linux: Changes["linux"] = {}) {
    const stat = await output("cat /proc/1/stat", { process: { scheduler }, linux });
    const fields = stat.replace(/^.*\) /, "").split(" ");
    return { policy: Number(fields[38]), nice: Number(fields[16]), priority: Number(fields[37]) };
  }

  it("scheduler", async () => {
    assert.deepEqual(await scheduling({ policy: "SCHED_OTHER", nice: 5 }), { policy: 0, nice: 5, priority: 0 });
    assert.deepEqual(await scheduling({ policy: "SCHED_BATCH", nice: -3 }), { policy: 3, nice: -3, priority: 0 });
    assert.equal((await scheduling({ policy: "SCHED_IDLE" })).policy, 5);
    // Where groups share real time, a container has none of it unless it asks.
    const cpu = existsSync("/sys/fs/cgroup/cpu/cpu.rt_runtime_us") ? { realtimeRuntime: 2000 } : {};
    const realtime = { resources: { cpu } };
    assert.deepEqual(await scheduling({ policy: "SCHED_FIFO", priority: 10 }, realtime), {
      policy: 1,
      nice: 0,
      priority: 10,
    });
    const flags = ["SCHED_FLAG_RESET_ON_FORK"] as const;
    assert.deepEqual(await scheduling({ policy: "SCHED_RR", priority: 7, flags }, realtime), {
      policy: 2,
      nice: 0,
      priority: 7,
    });
  });

  it("a filter that knows nothing of newer calls is no hindrance, with and without no_new_privs", async () => {
    for (const noNewPrivileges of [false, true]) {
      for (const action of ["SCMP_ACT_ERRNO", "SCMP_ACT_KILL_PROCESS"] as const) {
        const names = ["openat2", "clone3", "faccessat2", "close_range", "mount_setattr", "open_tree", "move_mount"];
        const seccomp = { defaultAction: "SCMP_ACT_ALLOW" as const, syscalls: [{ names, action }] };
        const text = await output("pwd; id -u", { process: { noNewPrivileges, cwd: "/etc" }, linux: { seccomp } });
        assert.equal(text, "/etc\n0");
      }
    }
  });

  it("a user who may not enter the working folder is refused it", async () => {
    const user = { uid: 1000, gid: 1000 };
    mkdirSync(join(folder, "root/root"), { recursive: true });
    chmodSync(join(folder, "root/root"), 0o700);
    for (const noNewPrivileges of [false, true]) {
      const running = output("pwd", { process: { noNewPrivileges, cwd: "/root", user, capabilities: {} } });
      await assert.rejects(
        running,
        (error) => /enter the working folder "\/root": permission denied/.test(String(error)),
      );
    }
  });

  it("names and queues are set in namespaces that it joins, unless they are the host's", async () => {
    const holder = await create("read x", {});
    await holder.start();
    try {
      const others = (specFor(["true"]).linux.namespaces ?? []).filter(({ type }) => type !== "uts" && type !== "ipc");
      const joined = (pid: number | "self") => [
        ...others,
        { type: "uts" as const, path: `/proc/${pid}/ns/uts` },
        { type: "ipc" as const, path: `/proc/${pid}/ns/ipc` },
      ];
      const spec = { ...specFor(["sh", "-c", "cat /proc/sys/kernel/hostname; ls -d /dev/mqueue"]), hostname: "joined" };
      const run = async (pid: number | "self") => {
        const linux = { ...spec.linux, namespaces: joined(pid) };
        const task = await runtime.create({ id: `p${count++}`, spec: { ...spec, linux }, rootfs });
        try {
          await task.start();
          return await new Response(task.stdout).text();
        } finally {
          await task.delete();
        }
      };
      assert.equal(await run(holder.pid ?? 0), "joined\n/dev/mqueue\n");
      await assert.rejects(run("self"), (error) => {
        assert.equal(codeOf(error), "invalid_argument" satisfies ErrorCode);
        return /a (uts|ipc) namespace that is not the host's|an ipc namespace that is not/.test(String(error));
      });
    } finally {
      await holder.delete();
    }
  });

  it("a scheduler that the kernel refuses is named", async () => {
    for (const scheduler of [{ policy: "SCHED_FIFO", priority: 1000 }, { policy: "SCHED_ISO" }] as const) {
      await refused({ process: { scheduler } }, "process.scheduler", ["invalid_argument", "permission_denied"]);
    }
  });

  /** Refused when it is made, or when it is started. */
  async function refused(changes: Changes, field: string, codes: readonly ErrorCode[]): Promise<void> {
    let task: Task | undefined;
    await assert.rejects(async () => {
      task = await create("true", changes);
      await task.start();
    }, (error) => {
      assert.ok(codes.includes(codeOf(error)), String(error));
      assert.ok(String(error).includes(field), String(error));
      return true;
    });
    await task?.delete();
  }

  it("I/O priority", async () => {
    const ionice = (ioPriority: NonNullable<SpecProcess["ioPriority"]>) =>
      output("busybox ionice -p 1", { process: { ioPriority } });
    assert.match(await ionice({ class: "IOPRIO_CLASS_BE", priority: 6 }), /best-effort: prio 6/);
    assert.match(await ionice({ class: "IOPRIO_CLASS_RT", priority: 2 }), /realtime: prio 2/);
    assert.match(await ionice({ class: "IOPRIO_CLASS_IDLE" }), /idle/);
  });

  it("personality", async () => {
    assert.match(await output("busybox uname -m", { linux: { personality: { domain: "LINUX" } } }), /64$/);
    assert.match(await output("busybox uname -m", { linux: { personality: { domain: "LINUX32" } } }), /^(?:i686|armv)/);
    await refused({ linux: { personality: { domain: "LINUX", flags: ["X"] } } }, "linux.personality.flags", [
      "invalid_argument",
    ]);
  });

  it("processors of an exec", async () => {
    const task = await create("sleep 60", { process: { execCPUAffinity: { final: "0" } } });
    try {
      await task.start();
      const allowed = async (execCPUAffinity: SpecProcess["execCPUAffinity"]) => {
        const spec = {
          ...specFor(["busybox", "grep", "Cpus_allowed_list", "/proc/self/status"]).process,
          execCPUAffinity,
        };
        const each = await demand(task, "exec").exec({ id: `x${count++}`, process: spec });
        const text = await new Response(each.stdout).text();
        await each.delete();
        return text.split("\t")[1]?.trim();
      };
      assert.equal(await allowed({ final: "0" }), "0");
      assert.equal(await allowed({ initial: "0" }), "0");
      await assert.rejects(allowed({ final: "3-1" }), (error) => codeOf(error) === "invalid_argument");
      await assert.rejects(allowed({ final: "9000" }), (error) => codeOf(error) === "invalid_argument");
    } finally {
      await task.delete();
    }
  });

  it("labels are refused by name where the kernel has no use for them", async () => {
    if (!existsSync("/sys/module/apparmor")) {
      await refused({ process: { apparmorProfile: "x" } }, "process.apparmorProfile", ["failed_precondition"]);
    }
    if (!existsSync("/sys/fs/selinux/enforce")) {
      await refused({ process: { selinuxLabel: "x" } }, "process.selinuxLabel", ["failed_precondition"]);
      await refused({ linux: { mountLabel: "x" } }, "linux.mountLabel", ["failed_precondition"]);
    }
    assert.equal(await output("echo x", { process: { apparmorProfile: "unconfined" } }), "x");
    await refused({ linux: { intelRdt: { closID: "x" } } }, "linux.intelRdt", ["unimplemented"]);
  });
});
