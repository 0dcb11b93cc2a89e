import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { after, before, describe, it } from "node:test";
import { Criu } from "../../runtimes/native/criu.ts";
import { Rights } from "../../runtimes/native/rights.ts";
import { NativeRuntime } from "../../runtimes/native/runtime.ts";
import type { Rootfs } from "../../src/core/mount.ts";
import type { CreateTask } from "../../src/core/runtime.ts";
import type { Spec } from "../../src/core/spec.ts";
import { demand, type Task } from "../../src/core/task.ts";
import { currentHost } from "../../src/host/mod.ts";
import { Cgroups, detectLayout } from "../../src/linux/cgroup/mod.ts";
import { Children } from "../../src/linux/children.ts";
import { Kernel } from "../../src/linux/kernel.ts";
import { makeBusyboxRoot } from "../support/busybox_image.ts";
import { workingCriu } from "../support/criu.ts";
import { busyboxRootfs, specFor } from "./native_runtime.ts";

const host = await currentHost();

/** Counts the lines that it reads, and says what it is at the end. */
const counter = `cd /tmp; echo kept > note; export secret=$((6 * 7)); i=0
while read line; do i=$((i+1)); echo $i $line; done
echo $secret $(cat note) $(pwd) $(id -u) $(cat /proc/self/cgroup | cut -d: -f3 | sort -u)
grep -E '^(NoNewPrivs|Seccomp|CapEff|NSpid)' /proc/$$/status; hostname; cat /outside/file; ls /sys/class/net`;

describe("a checkpoint of the native runtime", { skip: process.geteuid?.() === 0 ? false : "it takes root" }, () => {
  let folder: string;
  let rootfs: Rootfs;
  let runtime: NativeRuntime;
  let events: string[];
  let count = 0;

  function open(criu: string): NativeRuntime {
    const kernel = new Kernel(host);
    const children = new Children(kernel);
    return new NativeRuntime({
      kernel,
      children,
      cgroups: new Cgroups(kernel, detectLayout(kernel)),
      folder: join(folder, "run"),
      cgroupParent: `/mayfly-checkpoint-${process.pid}`,
      criu: new Criu(kernel, children, criu),
    });
  }

  before(() => {
    folder = mkdtempSync(join(tmpdir(), "mayfly-checkpoint-"));
    makeBusyboxRoot(join(folder, "root"));
    mkdirSync(join(folder, "outside"));
    writeFileSync(join(folder, "outside/file"), "from the host\n");
    rootfs = busyboxRootfs(join(folder, "root"));
    runtime = open(workingCriu());
    runtime.events(({ type }) => events.push(type));
    events = [];
  });

  after(async () => {
    await runtime[Symbol.asyncDispose]();
    assert.deepEqual(readdirSync(join(folder, "run.restores")), []);
    rmSync(folder, { recursive: true, force: true });
  });

  function specOf(script: string): Spec {
    const spec = specFor(["sh", "-c", script]);
    const outside = {
      destination: "/outside",
      type: "bind",
      source: join(folder, "outside"),
      options: ["rbind", "ro"],
    };
    const scratch = { destination: "/tmp", type: "tmpfs", source: "tmpfs", options: ["nosuid", "mode=1777"] };
    return {
      ...spec,
      hostname: "written",
      mounts: [...spec.mounts ?? [], outside, scratch],
      process: { ...spec.process, noNewPrivileges: true },
    };
  }

  async function launch(options: Partial<CreateTask> & { readonly spec: Spec }): Promise<Conversation> {
    const task = await runtime.create({ id: `c${count++}`, rootfs, ...options });
    await task.start();
    return new Conversation(task);
  }

  function empty(): string {
    const path = join(folder, `images-${count++}`);
    mkdirSync(path);
    return path;
  }

  it("is gone on from, as often as one likes, by containers like the one it is of", async () => {
    const spec = specOf(counter);
    await using first = await launch({ spec });
    assert.equal(await first.say("a"), "1 a");
    const checkpoint = empty();
    let stopped = "";
    events = [];
    await demand(first.task, "checkpoint").checkpoint({
      folder: checkpoint,
      async whileStopped() {
        stopped = readFileSync(`/proc/${first.task.pid}/status`, "utf8");
      },
    });
    assert.match(stopped, /^State:\tT/m);
    assert.deepEqual(events, ["checkpointed"]);
    // Itself goes on, too.
    assert.equal(await first.say("b"), "2 b");
    const itself = await first.rest();
    assert.match(itself, /^42 kept \/tmp 0 \/$/m);
    assert.match(itself, /^NoNewPrivs:\t1$/m);
    assert.match(itself, /^NSpid:\t1$/m);
    const again = await Promise.all([1, 2].map(() => launch({ spec, checkpoint })));
    for (const each of again) {
      await using restored = each;
      assert.equal(await restored.say("c"), "2 c");
      assert.equal(await restored.rest(), itself);
      assert.equal((await restored.task.wait()).code, 0);
    }
  });

  it("keeps all processes, and ends the container where that is asked for", async () => {
    const spec = specOf("sleep 1000 & while read line; do echo $line; done | cat");
    await using first = await launch({ spec });
    assert.equal(await first.say("a"), "a");
    const checkpoint = empty();
    await demand(first.task, "checkpoint").checkpoint({ folder: checkpoint, exit: true });
    assert.equal((await first.task.wait()).code, 137);
    await using restored = await launch({ spec, checkpoint });
    assert.equal(await restored.say("b"), "b");
    assert.equal((await demand(restored.task, "stats").pids()).length, 4);
    await restored.task.kill(9);
    assert.equal((await restored.task.wait()).code, 137);
  });

  it("keeps TCP connections, those alone that it is told to keep", async () => {
    const spec = specOf("nc -ll -p 7000 -e cat & until nc 127.0.0.1 7000; do :; done");
    await using first = await launch({ spec });
    assert.equal(await first.say("a"), "a");
    const checkpoints = demand(first.task, "checkpoint");
    await assert.rejects(checkpoints.checkpoint({ folder: empty() }), {
      code: "failed_precondition",
      message: /tcp-established/,
    });
    assert.equal(await first.say("b"), "b");
    const checkpoint = empty();
    await checkpoints.checkpoint({ folder: checkpoint, tcpEstablished: true, exit: true });
    await using restored = await launch({ spec, checkpoint });
    assert.equal(await restored.say("c"), "c");
  });

  it("has the hooks of a container's start and end run for those that go on from it", async () => {
    const told = join(folder, "told");
    const hook = (word: string) => [{ path: "/bin/sh", args: ["sh", "-c", `echo ${word} >> ${told}`] }];
    const spec = { ...specOf(counter), hooks: { poststart: hook("start"), poststop: hook("stop") } };
    await using first = await launch({ spec });
    const checkpoint = empty();
    await demand(first.task, "checkpoint").checkpoint({ folder: checkpoint, exit: true });
    await first.task.delete();
    const restored = await launch({ spec, checkpoint });
    assert.equal(await restored.say("a"), "1 a");
    await restored.task.delete();
    assert.equal(readFileSync(told, "utf8"), "start\nstop\nstart\nstop\n");
  });

  it("lets the container go on where what is to fit it fails", async () => {
    await using first = await launch({ spec: specOf(counter) });
    const whileStopped = () => Promise.reject(new Error("no room"));
    await assert.rejects(
      demand(first.task, "checkpoint").checkpoint({ folder: empty(), whileStopped, exit: true }),
      /no room/,
    );
    assert.equal(await first.say("a"), "1 a");
  });

  it("is refused where it could not be gone on from, and all stays as it was", async () => {
    const spec = specOf(counter);
    await using first = await launch({ spec });
    const { task } = first;
    const checkpoints = demand(task, "checkpoint");
    const failed = { code: "failed_precondition" };
    const other = await demand(task, "exec").exec({ id: "other", process: specFor(["sleep", "100"]).process });
    await assert.rejects(checkpoints.checkpoint({ folder: empty() }), { ...failed, message: /"other" is in it/ });
    await other.delete();
    await demand(task, "pause").pause();
    await assert.rejects(checkpoints.checkpoint({ folder: empty() }), { ...failed, message: /paused/ });
    await demand(task, "pause").resume();
    assert.equal(await first.say("a"), "1 a");
    for (const turn of ["prestart", "createRuntime", "createContainer", "startContainer"]) {
      const [hooked, what] = [{ ...spec, hooks: { [turn]: [{ path: "/bin/true" }] } }, new RegExp(`hooks ${turn}`)];
      await using each = await launch({ spec: hooked });
      const refused = { code: "unimplemented", message: what };
      await assert.rejects(demand(each.task, "checkpoint").checkpoint({ folder: empty() }), refused);
      await assert.rejects(launch({ spec: hooked, checkpoint: empty() }), refused);
      assert.equal(await each.say("a"), "1 a");
    }
    const user = { ...spec, process: { ...spec.process, user: { uid: 1000, gid: 1000 } } };
    if (!new Rights(new Kernel(host)).raisesLimits) {
      const denied = { code: "permission_denied", message: /user 1000.*CAP_SYS_RESOURCE/ };
      await assert.rejects(launch({ spec: user, checkpoint: empty() }), denied);
    }
    await assert.rejects(launch({ spec, checkpoint: empty() }), { code: "invalid_argument", message: /no checkpoint/ });
    const broken = empty();
    writeFileSync(join(broken, "mayfly.json"), '{"stdio":[null,null,null]}');
    await assert.rejects(launch({ spec, checkpoint: broken }), { ...failed, message: /criu restore/ });
    writeFileSync(join(broken, "mayfly.json"), '{"stdio":["--root /",null,null]}');
    await assert.rejects(launch({ spec, checkpoint: broken }), { code: "invalid_argument", message: /stdio/ });
  });

  it("needs a CRIU, which it names", async () => {
    const without = open("/nothing/criu");
    try {
      const task = await without.create({ id: "without", spec: specOf("sleep 100"), rootfs });
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

/** Talks with a container that answers each line with one. */
class Conversation implements AsyncDisposable {
  readonly task: Task;
  readonly #input: WritableStreamDefaultWriter<Uint8Array>;
  readonly #output: ReadableStreamDefaultReader<Uint8Array>;
  #text = "";

  constructor(task: Task) {
    this.task = task;
    if (task.stdin === undefined || task.stdout === undefined) throw new Error("it has no streams");
    this.#input = task.stdin.getWriter();
    this.#output = task.stdout.getReader();
  }

  async say(line: string): Promise<string> {
    await this.#input.write(new TextEncoder().encode(`${line}\n`));
    while (!this.#text.includes("\n")) if (!await this.#more()) break;
    const [answer = "", ...rest] = this.#text.split("\n");
    this.#text = rest.join("\n");
    return answer;
  }

  async rest(): Promise<string> {
    await this.#input.close();
    while (await this.#more());
    return this.#text;
  }

  async #more(): Promise<boolean> {
    const { done, value } = await this.#output.read();
    if (value !== undefined) this.#text += new TextDecoder().decode(value);
    return !done;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.task.delete();
  }
}
