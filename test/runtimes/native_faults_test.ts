import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { after, afterEach, before, describe, it } from "node:test";
import { NativeRuntime } from "../../runtimes/native/runtime.ts";
import { Failure } from "../../src/core/errors.ts";
import type { Rootfs } from "../../src/core/mount.ts";
import type { CreateTask } from "../../src/core/runtime.ts";
import { demand, type Task } from "../../src/core/task.ts";
import { currentHost } from "../../src/host/mod.ts";
import { Cgroups, detectLayout } from "../../src/linux/cgroup/mod.ts";
import { Children } from "../../src/linux/children.ts";
import { Kernel } from "../../src/linux/kernel.ts";
import type { Operation, Program } from "../../src/linux/program.ts";
import { Stage } from "../../src/linux/stage.ts";
import type { Template } from "../../src/linux/template.ts";
import { makeBusyboxRoot } from "../support/busybox_image.ts";
import { busyboxRootfs, hasCgroups, specFor } from "./native_runtime.ts";

/*
 * Every step of a launch fails in turn: in its place the interpreter makes a call that fails. Each time the error has to
 * name the step, and nothing may be left.
 */

/** Makes one step of a launch fail. Steps are counted through all programs of the launch. */
class Fault {
  /** The step that is to fail. */
  readonly at: number | undefined;
  /** What it was. */
  step: Operation | undefined;
  #steps = 0;

  constructor(at?: number) {
    this.at = at;
  }

  get steps(): number {
    return this.#steps;
  }

  /** A program in which the step fails, if it is in it. */
  in(program: Program): Program {
    const index = (this.at ?? -1) - this.#steps;
    this.#steps += program.length;
    const step = program[index];
    if (step === undefined) return program;
    this.step = step;
    // It takes any arguments, and no kernel has it. What never returns cannot fail.
    return /^exit/.test(step.syscall) ? program : program.with(index, { ...step, syscall: "afs_syscall" });
  }
}

/** The errno of an error, or of what led to it. */
function errnoOf(error: unknown): string | undefined {
  return error instanceof Failure ? error.errno ?? errnoOf(error.cause) : undefined;
}

/** The kernel, with a fault in what it lays out of a launch. */
class FaultyKernel extends Kernel {
  fault = new Fault();

  override compile(program: Program): Template {
    const isLaunch = program.some(({ syscall }) => syscall === "pivot_root");
    return super.compile(isLaunch ? this.fault.in(program) : program);
  }
}

const host = await currentHost();

describe("a launch in which a step fails", { skip: process.geteuid?.() === 0 ? false : "it takes root" }, () => {
  const cgroupParent = `/mayfly-faults-${process.pid}`;
  const methods = {
    run: Stage.prototype.run,
    execute: Stage.prototype.execute,
    executeAnnounced: Stage.prototype.executeAnnounced,
    descriptor: Stage.prototype.descriptor,
  };
  let folder: string;
  let rootfs: Rootfs;
  let kernel: FaultyKernel;

  before(() => {
    folder = mkdtempSync(join(tmpdir(), "mayfly-faults-"));
    makeBusyboxRoot(join(folder, "root"));
    rootfs = busyboxRootfs(join(folder, "root"));
    kernel = new FaultyKernel(host);
  });

  afterEach(() => {
    Object.assign(Stage.prototype, methods);
  });

  after(() => rmSync(folder, { recursive: true, force: true }));

  function open(): NativeRuntime {
    return new NativeRuntime({
      kernel,
      children: new Children(kernel),
      cgroups: new Cgroups(kernel, detectLayout(kernel)),
      folder: join(folder, "run"),
      cgroupParent,
    });
  }

  /** Launches once, and tells why it could not. */
  async function launch(fault: Fault, options: CreateTask): Promise<unknown> {
    kernel.fault = fault;
    const runtime = open();
    let task: Task | undefined;
    try {
      task = await runtime.create(options);
      await task.start();
      await task.wait();
      return undefined;
    } catch (error) {
      return error;
    } finally {
      await task?.delete();
      assert.deepEqual(runtime.tasks(), []);
      await runtime[Symbol.asyncDispose]();
    }
  }

  interface Audit {
    readonly mounts: readonly string[];
    readonly children: readonly string[];
    readonly descriptors: number;
    readonly namespaces: string;
    readonly folders: readonly string[];
  }

  function audit(): Audit {
    const children = readdirSync("/proc").filter((pid) => /^\d+$/.test(pid)).filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/stat`, "utf8").replace(/^.*\) /, "").split(" ")[1] === String(process.pid);
      } catch {
        return false;
      }
    });
    return {
      // Others may be mounting at the same time.
      mounts: readFileSync("/proc/self/mountinfo", "utf8").split("\n").filter((line) => line.includes(folder)),
      children,
      descriptors: readdirSync("/proc/self/fd").length,
      namespaces: readdirSync("/proc/self/ns").map((name) => readlinkSync(`/proc/self/ns/${name}`)).join(),
      folders: readdirSync(folder),
    };
  }

  /** Makes each step fail in turn. */
  async function failEach(options: () => CreateTask): Promise<void> {
    const counting = new Fault();
    assert.equal(await launch(counting, options()), undefined);
    assert.ok(counting.steps > 100, `${counting.steps} steps`);
    const before = audit();
    let failures = 0;
    for (let at = 0; at < counting.steps; at++) {
      const fault = new Fault(at);
      const error = await launch(fault, options());
      const { step } = fault;
      const name = `step ${at}: ${step?.why}: ${error}`;
      assert.ok(step !== undefined, name);
      assert.equal(hasCgroups(cgroupParent), false, name);
      assert.deepEqual({ ...audit(), descriptors: 0 }, { ...before, descriptors: 0 }, name);
      if (error === undefined) {
        // It was jumped over, or nothing depends on it.
        continue;
      }
      failures++;
      assert.ok(error instanceof Failure, name);
      if (step.onError !== undefined) continue;
      const isCommand = /^(?:find command|execute)/.test(step.why);
      assert.ok(isCommand || error.message.includes(step.why), name);
      // Behind the filter, it is the filter's word.
      assert.ok(["ENOSYS", "EPERM"].includes(errnoOf(error) ?? ""), name);
    }
    assert.ok(failures > counting.steps / 2, `${failures} of ${counting.steps}`);
    // Streams close their descriptors some turns after their end.
    const deadline = Date.now() + 5000;
    while (audit().descriptors > before.descriptors + 4) {
      assert.ok(
        Date.now() < deadline,
        `${audit().descriptors} descriptors are open, ${before.descriptors} were before`,
      );
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    assert.equal(await launch(new Fault(), options()), undefined);
  }

  /** Puts the fault into the programs that a process gets one after another. */
  function faultyStages(): void {
    const faulty = (name: keyof typeof methods) =>
      function (this: Stage, program: Program, ...rest: unknown[]) {
        return Reflect.apply(methods[name], this, [kernel.fault.in(program), ...rest]);
      };
    const names = Object.keys(methods) as (keyof typeof methods)[];
    Object.assign(Stage.prototype, Object.fromEntries(names.map((name) => [name, faulty(name)])));
  }

  let count = 0;
  const options = (changes: Partial<CreateTask> = {}): CreateTask => {
    const spec = specFor(["true"]);
    return { id: `f${count++}`, spec, rootfs, stdio: { stdin: false, stdout: true, stderr: false }, ...changes };
  };

  it("at once", () => failEach(() => options({ lazy: true })));

  it("that waits for its start", () => failEach(() => options()));

  it("in stages", async () => {
    faultyStages();
    await failEach(() => {
      const spec = specFor(["true"]);
      // Namespaces of a network are made ahead, by programs that are none of the launch's.
      const namespaces = spec.linux.namespaces?.filter(({ type }) => type !== "network") ?? [];
      const hooks = { createContainer: [{ path: "/bin/true" }] };
      return options({ spec: { ...spec, hooks, linux: { ...spec.linux, namespaces } } });
    });
  });

  it("of one more process", async () => {
    faultyStages();
    kernel.fault = new Fault();
    const runtime = open();
    const spec = specFor(["sleep", "60"]);
    const task = await runtime.create(options({ spec }));
    await task.start();
    const exec = async (fault: Fault) => {
      kernel.fault = fault;
      const each = await demand(task, "exec").exec({ id: `x${count++}`, process: specFor(["true"]).process });
      await each.wait();
      await each.delete();
    };
    const counting = new Fault();
    await exec(counting);
    const before = audit();
    for (let at = 0; at < counting.steps; at++) {
      const fault = new Fault(at);
      const error = await exec(fault).then(() => undefined, (reason: unknown) => reason);
      const name = `step ${at}: ${fault.step?.why}: ${error}`;
      assert.deepEqual({ ...audit(), descriptors: 0 }, { ...before, descriptors: 0 }, name);
      assert.equal(task.status, "running", name);
      if (error === undefined || fault.step?.onError !== undefined) continue;
      assert.ok(["ENOSYS", "EPERM"].includes(errnoOf(error) ?? ""), name);
    }
    assert.ok(counting.steps > 50, `${counting.steps} steps`);
    await exec(new Fault());
    await task.delete();
    await runtime[Symbol.asyncDispose]();
  });
});
