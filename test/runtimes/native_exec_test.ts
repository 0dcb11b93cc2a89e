import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, readlinkSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { after, before, describe, it } from "node:test";
import type { NativeRuntime } from "../../runtimes/native/runtime.ts";
import { codeOf } from "../../src/core/errors.ts";
import type { Rootfs } from "../../src/core/mount.ts";
import type { TaskEvent } from "../../src/core/runtime.ts";
import type { Spec, SpecProcess } from "../../src/core/spec.ts";
import { demand, type Executes, type Stdio, type Task } from "../../src/core/task.ts";
import { currentHost } from "../../src/host/mod.ts";
import { Kernel } from "../../src/linux/kernel.ts";
import { pipe } from "../../src/linux/pipe.ts";
import { makeBusyboxRoot } from "../support/busybox_image.ts";
import { busyboxRootfs, cgroupsOf, nativeRuntime, specFor } from "./native_runtime.ts";

const kernel = new Kernel(await currentHost());
const isRoot = process.geteuid?.() === 0;
let count = 0;

describe("NativeTask.exec()", { skip: isRoot ? false : "it takes root" }, () => {
  const cgroupParent = `/mayfly-test-${process.pid}-exec`;
  let folder: string;
  let runtime: NativeRuntime;
  let rootfs: Rootfs;
  let task: Task & Executes;

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "mayfly-exec-"));
    makeBusyboxRoot(join(folder, "root"));
    rootfs = busyboxRootfs(join(folder, "root"));
    runtime = await nativeRuntime(join(folder, "run"), cgroupParent);
    task = await started(["sleep", "600"]);
  });

  after(async () => {
    await task.delete();
    assert.deepEqual(cgroupsOf(cgroupParent), []);
    await runtime[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  async function started(args: readonly string[], linux: Partial<Spec["linux"]> = {}): Promise<Task & Executes> {
    const spec = specFor(args);
    const made = await runtime.create({
      id: `e${count++}`,
      spec: { ...spec, linux: { ...spec.linux, ...linux } },
      rootfs,
      lazy: true,
    });
    await made.start();
    return demand(made, "exec");
  }

  const of = (args: readonly string[], changes: Partial<SpecProcess> = {}): SpecProcess => ({
    ...specFor(args).process,
    ...changes,
  });
  const sh = (script: string, changes?: Partial<SpecProcess>) => of(["sh", "-c", script], changes);
  const text = (stream: ReadableStream | undefined) =>
    stream === undefined ? Promise.resolve("") : new Response(stream).text();

  async function run(process: SpecProcess, { in: where = task, input = "", stdio }: {
    in?: Executes;
    input?: string;
    stdio?: Stdio;
  } = {}) {
    const made = await where.exec({ id: `p${count++}`, process, ...(stdio && { stdio }) });
    try {
      const writer = made.stdin?.getWriter();
      const written = writer?.write(new TextEncoder().encode(input)).then(() => writer.close()).catch(() => {});
      const [stdout, stderr] = await Promise.all([text(made.stdout), text(made.stderr), written]);
      return { ...await made.wait(), stdout, stderr };
    } finally {
      await made.delete();
    }
  }

  it("runs a process in all namespaces and cgroups of the container", async () => {
    const types = ["pid", "mnt", "ipc", "uts", "net", "cgroup"];
    const { stdout } = await run(
      sh(`for n in ${types.join(" ")}; do readlink /proc/self/ns/$n; done; cat /proc/1/cmdline`),
    );
    const lines = stdout.split("\n");
    for (const [index, type] of types.entries()) {
      assert.equal(lines[index], readlinkSync(`/proc/${task.pid}/ns/${type}`), type);
    }
    assert.equal(lines.at(-1), "sleep\0" + "600\0");
    const { stdout: cgroups } = await run(of(["cat", "/proc/self/cgroup"]));
    for (const line of cgroups.trim().split("\n")) assert.match(line, /:\/$/);
  });

  it("gives it its streams, status, environment, folder, user and rights", async () => {
    assert.deepEqual((await run(sh("cat; echo e >&2; exit 7"), { input: "in" })).stdout, "in");
    const ended = await run(sh("echo e >&2; exit 7"));
    assert.deepEqual([ended.code, ended.signal, ended.stderr], [7, undefined, "e\n"]);
    const user = { uid: 1000, gid: 1001, additionalGids: [29] };
    const changes = {
      user,
      cwd: "/tmp",
      env: ["PATH=/bin", "A=b"],
      rlimits: [{ type: "RLIMIT_NOFILE", soft: 33, hard: 44 }],
      oomScoreAdj: 432,
    };
    const script = "pwd; echo $A; id -u; id -G; ulimit -n; cat /proc/self/oom_score_adj; echo x > /dev/stdout; " +
      "exec busybox grep -E 'Seccomp:|NoNewPrivs|CapEff|CapBnd' /proc/self/status";
    const { stdout } = await run(sh(script, { ...changes, capabilities: { bounding: ["CAP_KILL"] } }));
    const lines = stdout.trim().split("\n");
    assert.deepEqual(lines.slice(0, 7), ["/tmp", "b", "1000", "1001 29", "33", "432", "x"]);
    const status = new Map(lines.slice(7).map((line) => line.split(/:\s*/) as [string, string]));
    assert.equal(status.get("Seccomp"), "2");
    assert.equal(status.get("NoNewPrivs"), "1");
    assert.equal(Number(`0x${status.get("CapBnd")}`), 1 << 5);
    assert.equal(Number(`0x${status.get("CapEff")}`), 0);
    const signals = (await run(of(["busybox", "grep", "-E", "SigBlk|SigIgn|SigCgt", "/proc/self/status"]))).stdout;
    assert.match(signals, /^(?:\w+:\s*0+\n){3}$/);
  });

  it("gives it no descriptor but its streams, and a session of its own", async () => {
    assert.equal((await run(of(["ls", "/proc/self/fd"]))).stdout, "0\n1\n2\n3\n");
    const stat = (await run(of(["cat", "/proc/self/stat"]))).stdout.replace(/^.*\) /, "").split(" ");
    assert.equal(stat[2], stat[3]);
    assert.notEqual(stat[3], "0");
    const { stdout: devices } = await run(sh("readlink /proc/self/fd/0; readlink /proc/self/fd/2"), {
      stdio: { stdin: false, stderr: false },
    });
    assert.match(devices, /^\/(?:dev\/)?null\n\/(?:dev\/)?null\n$/);
  });

  it("takes descriptors of the caller's", async () => {
    const { read, write } = pipe(kernel);
    const { code } = await run(sh("echo hello"), { stdio: { stdin: false, stdout: write } });
    kernel.call("close", write);
    assert.equal(code, 0);
    assert.equal(await text(kernel.host.readable(read)), "hello\n");
  });

  it("tells what happens, in order", async () => {
    const events: TaskEvent[] = [];
    const stop = runtime.events((event) => events.push(event));
    const made = await task.exec({ id: "told", process: sh("exit 3") });
    assert.deepEqual(task.processes().map(({ id }) => id), ["told"]);
    assert.ok(made.pid > 1);
    await made.wait();
    assert.equal((await made.delete()).code, 3);
    assert.equal((await made.delete()).code, 3);
    assert.deepEqual(task.processes(), []);
    stop();
    assert.deepEqual(events.map(({ type, id }) => `${type} ${id}`), [
      `exec-added ${task.id}`,
      `exec-started ${task.id}`,
      `exit ${task.id}`,
    ]);
    const exit = events[2];
    assert.ok(exit?.type === "exit");
    assert.deepEqual([exit.process, exit.pid, exit.exit.code], ["told", made.pid, 3]);
  });

  it("refuses what cannot be, and leaves nothing", async () => {
    const rejects = (process: SpecProcess, code: string, id = `p${count++}`) =>
      assert.rejects(task.exec({ id, process }), (error) => codeOf(error) === code, `${code} ${id}`);
    await rejects(of(["nonesuch"]), "not_found");
    await rejects(of(["/etc/passwd"]), "permission_denied");
    await rejects(of(["true"], { cwd: "/no/such" }), "not_found");
    await rejects(of(["true"]), "invalid_argument", "../x");
    await rejects(of(["true"], { capabilities: { bounding: ["CAP_NONE"] } }), "invalid_argument");
    await rejects(of(["true"], { execCPUAffinity: { final: "3-1" } }), "invalid_argument");
    assert.deepEqual(task.processes(), []);
    const made = await task.exec({ id: "one", process: of(["sleep", "60"]) });
    await rejects(of(["true"]), "already_exists", "one");
    await assert.rejects(made.kill(99), { code: "invalid_argument" });
    await made.kill(15);
    assert.deepEqual((await made.wait()).signal, 15);
    await made.kill();
    await made.delete();
  });

  it("needs a container that runs", async () => {
    const waiting = await runtime.create({ id: "waiting", spec: specFor(["true"]), rootfs });
    await assert.rejects(demand(waiting, "exec").exec({ id: "p", process: of(["true"]) }), {
      code: "failed_precondition",
    });
    await waiting.start();
    await waiting.wait();
    await assert.rejects(demand(waiting, "exec").exec({ id: "p", process: of(["true"]) }), {
      code: "failed_precondition",
    });
    await waiting.delete();
  });

  for (const own of [true, false]) {
    it(`ends it with the container, ${own ? "which" : "even one that"} has ${own ? "a" : "no"} pid namespace`, async () => {
      const namespaces = specFor(["true"]).linux.namespaces?.filter(({ type }) => own || type !== "pid") ?? [];
      const other = await started(["cat"], { namespaces });
      const [first, second] = await Promise.all(
        ["a", "b"].map((id) => other.exec({ id, process: of(["sleep", "60"]) })),
      );
      const ended = first?.wait();
      await other.stdin?.close();
      assert.equal((await other.wait()).code, 0);
      assert.equal((await ended)?.signal, 9);
      assert.equal((await second?.wait())?.signal, 9);
      assert.equal(other.processes().length, 2);
      await other.delete();
      assert.deepEqual(other.processes(), []);
      assert.equal((await second?.delete())?.signal, 9);
    });
  }

  it("is done with when the container is deleted in the middle", async () => {
    const other = await started(["sleep", "60"]);
    const starting = Array.from(
      { length: 4 },
      (_, index) => other.exec({ id: `p${index}`, process: of(["sleep", "60"]) }),
    );
    const settled = Promise.allSettled(starting);
    await other.delete();
    for (const each of await settled) {
      if (each.status === "rejected") assert.equal(codeOf(each.reason), "failed_precondition", String(each.reason));
      else assert.equal((await each.value.wait()).signal, 9);
    }
    assert.deepEqual(other.processes(), []);
  });

  it("runs 16 at once", async () => {
    const runs = Array.from({ length: 16 }, (_, index) => run(sh(`cat; exit ${index}`), { input: `hello ${index}` }));
    for (const [index, { code, stdout }] of (await Promise.all(runs)).entries()) {
      assert.deepEqual([code, stdout], [index, `hello ${index}`]);
    }
  });

  it("leaves no descriptor and no process", async () => {
    const open = () => readFileSync("/proc/self/status", "utf8").match(/FDSize:\s*(\d+)/)?.[1];
    const before = open();
    for (let round = 0; round < 40; round++) await run(of(["true"]));
    assert.equal(open(), before);
    const pids = await demand(task, "stats").pids();
    assert.deepEqual(pids, [task.pid]);
  });

  describe("with a terminal", () => {
    const terminal = { terminal: true, consoleSize: { width: 91, height: 31 } };

    it("is its three streams and its controlling terminal", async () => {
      const script = "tty; stty size; readlink /proc/self/fd/2; echo err >&2; : > /dev/tty && echo control; id -u";
      const { stdout, code } = await run(sh(script, { ...terminal, user: { uid: 1000, gid: 1000 } }));
      assert.equal(code, 0);
      assert.match(stdout, /^(\/dev\/pts\/\d+)\r\n31 91\r\n\1\r\nerr\r\ncontrol\r\n1000\r\n$/);
    });

    it("carries what is typed, and the end of input", async () => {
      const made = await task.exec({ id: "typed", process: sh("read x; echo got $x; cat; echo over", terminal) });
      assert.equal(made.stderr, undefined);
      const writer = made.stdin?.getWriter();
      await writer?.write(new TextEncoder().encode("abc\n"));
      const output = text(made.stdout);
      await writer?.close();
      assert.equal(await output, "abc\r\ngot abc\r\nover\r\n");
      assert.equal((await made.delete()).code, 0);
    });

    it("changes its size", async () => {
      const made = await task.exec({ id: "sized", process: sh("read x; stty size", terminal) });
      await made.resize?.({ width: 132, height: 50 });
      const writer = made.stdin?.getWriter();
      await writer?.write(new TextEncoder().encode("\n"));
      assert.equal(await text(made.stdout), "\r\n50 132\r\n");
      await writer?.close().catch(() => {});
      await made.delete();
      const plain = await task.exec({ id: "plain", process: of(["true"]) });
      await assert.rejects(plain.resize?.({ width: 1, height: 1 }) ?? Promise.reject(), {
        code: "failed_precondition",
      });
      await plain.delete();
    });

    it("loses nothing of a process that ends at once", async () => {
      const script = "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done; echo last";
      for (let round = 0; round < 3; round++) {
        const { stdout } = await run(sh(script, terminal));
        assert.equal(stdout.split("\r\n").length, 3002);
        assert.match(stdout, /last\r\n$/);
      }
    });

    it("is the container's own console", async () => {
      const spec = specFor([
        "sh",
        "-c",
        "tty; readlink /proc/self/fd/0; stty size; echo via > /dev/console; read x; echo $x",
      ]);
      const made = await runtime.create({
        id: "console",
        spec: { ...spec, process: { ...spec.process, ...terminal } },
        rootfs,
        lazy: true,
      });
      await demand(made, "resize").resize({ width: 20, height: 10 });
      await made.start();
      const writer = made.stdin?.getWriter();
      await writer?.write(new TextEncoder().encode("end\n"));
      const output = (await text(made.stdout)).split("\r\n").filter((line) => line !== "end");
      assert.deepEqual(output, ["/dev/pts/0", "/dev/pts/0", "10 20", "via", ""]);
      assert.equal(made.stderr, undefined);
      await writer?.close().catch(() => {});
      assert.equal((await made.delete())?.code, 0);
    });

    it("goes with its task, whoever still holds the streams", async () => {
      const made = await task.exec({ id: "held", process: of(["sleep", "60"], terminal) });
      const reader = made.stdout?.getReader();
      const reading = reader?.read();
      assert.equal((await made.delete()).signal, 9);
      assert.equal((await reading)?.done, true);
    });
  });
});
