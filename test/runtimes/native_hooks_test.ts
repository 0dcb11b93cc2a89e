import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readFileSync, readlinkSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { after, before, describe, it } from "node:test";
import type { NativeRuntime } from "../../runtimes/native/runtime.ts";
import type { Rootfs } from "../../src/core/mount.ts";
import type { Spec } from "../../src/core/spec.ts";
import { makeBusyboxRoot } from "../support/busybox_image.ts";
import { busyboxRootfs, cgroupsOf, nativeRuntime, specFor } from "./native_runtime.ts";

const isRoot = process.geteuid?.() === 0;
const turns = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"] as const;
type Turn = (typeof turns)[number];
let count = 0;

describe("NativeRuntime, hooks", { skip: isRoot ? false : "it takes root" }, () => {
  const cgroupParent = `/mayfly-test-${process.pid}-hooks`;
  let folder: string;
  let runtime: NativeRuntime;
  let rootfs: Rootfs;
  let log: string;

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "mayfly-hooks-"));
    makeBusyboxRoot(join(folder, "root"));
    rootfs = busyboxRootfs(join(folder, "root"));
    runtime = await nativeRuntime(join(folder, "run"), cgroupParent);
  });

  after(async () => {
    await runtime[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  /** A hook of the host, or one inside the container, where only its own file is there. */
  const sh = (script: string, more: object = {}) => ({ path: "/bin/sh", args: ["sh", "-c", script], ...more });
  const create = (hooks: Spec["hooks"], args: readonly string[] = ["true"], changes: Partial<Spec> = {}) => {
    const spec = specFor(args);
    return runtime.create({
      id: `h${count++}`,
      spec: { ...spec, ...changes, hooks },
      rootfs,
      bundle: folder,
      lazy: true,
    });
  };
  const lines = () => existsSync(log) ? readFileSync(log, "utf8").trim().split("\n").filter((line) => line !== "") : [];
  const fresh = () => log = join(folder, `log-${count++}`);

  it("run in their order, with the container's state on their standard input", async () => {
    fresh();
    const data = join(folder, "shared");
    const mounts = [
      ...specFor(["true"]).mounts ?? [],
      { destination: "/log", type: "bind", source: folder, options: ["bind", "rw"] },
    ];
    const tell = (turn: Turn) => {
      const to = turn === "startContainer" ? log.replace(folder, "/log") : log;
      return sh(`read -r state; echo "${turn} $state" >> ${to}`);
    };
    const hooks = Object.fromEntries(turns.map((turn) => [turn, [tell(turn)]])) as Spec["hooks"];
    const annotations = { key: "value" };
    const task = await create(hooks, ["sh", "-c", "read x"], { mounts, annotations });
    const seen = () => lines().map((line) => line.split(" ")[0]);
    assert.deepEqual(seen(), ["prestart", "createRuntime", "createContainer"]);
    await task.start();
    assert.deepEqual(seen(), ["prestart", "createRuntime", "createContainer", "startContainer", "poststart"]);
    const { pid } = task;
    await task.delete();
    assert.deepEqual(seen(), [...turns]);
    const states = lines().map((line) => JSON.parse(line.slice(line.indexOf(" "))));
    assert.deepEqual(states.map(({ status }) => status), [
      "creating",
      "creating",
      "creating",
      "created",
      "running",
      "stopped",
    ]);
    for (const state of states) {
      assert.deepEqual([state.id, state.bundle, state.annotations], [task.id, folder, annotations]);
      if (state.status !== "stopped") assert.equal(state.pid, pid);
      assert.equal(state.ociVersion, specFor(["true"]).ociVersion);
    }
    assert.ok(!existsSync(data));
  });

  it("run where they belong", async () => {
    fresh();
    const where = (name: string, to = log) =>
      sh(`echo "${name} $(readlink /proc/self/ns/mnt) $(ls / | wc -l)" >> ${to}`);
    const inside = "/dev/shm/inside";
    const task = await create({
      createRuntime: [where("runtime")],
      createContainer: [where("container")],
      startContainer: [{
        path: "/bin/sh",
        args: ["sh", "-c", `readlink /proc/self/ns/mnt > ${inside}; ls / >> ${inside}`],
      }],
    }, ["cat", inside]);
    const mountNamespace = readlinkSync(`/proc/${task.pid}/ns/mnt`);
    const own = readlinkSync("/proc/self/ns/mnt");
    assert.deepEqual(lines().map((line) => line.split(" ").slice(0, 2)), [["runtime", own], [
      "container",
      mountNamespace,
    ]]);
    // The root is not left yet: the hook's path is the host's.
    assert.equal(lines()[0]?.split(" ")[2], lines()[1]?.split(" ")[2]);
    await task.start();
    const output = (await new Response(task.stdout).text()).trim().split("\n");
    assert.equal(output[0], mountNamespace);
    assert.ok(output.includes("bin") && !output.includes("boot"));
    assert.equal((await task.delete())?.code, 0);
  });

  it("have their arguments, environment and folder, and nothing of the daemon", async () => {
    fresh();
    const script = `echo "$0 $1 $A $(pwd) $HOME" > ${log}; ls /proc/$$/fd >> ${log}; env >> ${log}`;
    const hook = { path: "/bin/sh", args: ["name", "-c", script, "zero", "one"], env: ["A=b c", "PATH=/usr/bin:/bin"] };
    const task = await create({ createRuntime: [hook] });
    await task.delete();
    assert.equal(lines()[0], `zero one b c ${folder} `);
    // The shell itself uses the tenth.
    assert.deepEqual(lines().filter((line) => /^\d+$/.test(line) && line !== "10"), ["0", "1", "2"]);
    assert.ok(lines().includes("A=b c"));
    assert.deepEqual(lines().filter((line) => /^(?:HOME|USER)=/.test(line)), []);
  });

  for (const turn of ["prestart", "createRuntime", "createContainer"] as const) {
    it(`undo the creation where ${turn} fails`, async () => {
      fresh();
      const hooks = {
        [turn]: [sh(`echo first >> ${log}`), sh("echo reason >&2; exit 3"), sh(`echo third >> ${log}`)],
        poststop: [sh(`echo stopped >> ${log}`)],
      };
      await assert.rejects(create(hooks), {
        code: "failed_precondition",
        message: new RegExp(
          `^cannot create container "h\\d+": hook ${turn}\\[1\\] "/bin/sh" ended with status 3: reason$`,
        ),
      });
      assert.deepEqual(lines(), ["first", "stopped"]);
      assert.deepEqual(runtime.tasks(), []);
      assert.deepEqual(cgroupsOf(cgroupParent), []);
    });
  }

  it("undo the start where startContainer fails", async () => {
    fresh();
    const task = await create({ startContainer: [{ path: "/bin/false" }], poststop: [sh(`echo stopped >> ${log}`)] });
    await assert.rejects(task.start(), { code: "failed_precondition" });
    assert.equal(task.status, "stopped");
    await task.delete();
    assert.deepEqual(lines(), ["stopped"]);
  });

  it("change nothing where poststart or poststop fails", async () => {
    fresh();
    const failing = [sh("exit 1"), sh(`echo on >> ${log}`)];
    const task = await create({ poststart: failing, poststop: failing }, ["cat"]);
    await task.start();
    assert.equal(task.status, "running");
    await task.delete();
    assert.deepEqual(lines(), ["on", "on"]);
  });

  it("are killed when they take too long, and refused when they are not there", async () => {
    await assert.rejects(create({ createRuntime: [{ path: "/bin/sleep", args: ["sleep", "60"], timeout: 1 }] }), {
      code: "deadline_exceeded",
      message: /did not end within 1 s/,
    });
    await assert.rejects(create({ createRuntime: [{ path: "/no/such/hook" }] }), {
      code: "not_found",
      message: /hook createRuntime\[0\] "\/no\/such\/hook"/,
    });
  });

  it("need not read what they are told, nor end all that they start", async () => {
    const annotations = { long: "x".repeat(300_000) };
    const task = await create({ createRuntime: [sh("sleep 2 & exit 0")] }, ["true"], { annotations });
    await task.delete();
    await assert.rejects(create({ createRuntime: [sh("sleep 2 & exit 1")] }), { code: "failed_precondition" });
  });

  it("leave no process and no descriptor", () => {
    assert.deepEqual(runtime.tasks(), []);
    const children = readFileSync(`/proc/self/task/${process.pid}/children`, "utf8").trim().split(" ").filter((pid) =>
      pid !== "" && /^State:\s*Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"))
    );
    assert.deepEqual(children, []);
  });
});
