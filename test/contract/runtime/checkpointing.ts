import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { CreateTask } from "../../../src/core/runtime.ts";
import { can, type CheckpointOptions, demand, type Task } from "../../../src/core/task.ts";
import { code, type Fixture, MiB, Reader, write } from "./fixture.ts";

/** Counts the lines that it reads, and says at the end what it is. */
const counter = `cd /tmp; echo kept > note; export secret=$((6 * 7)); i=0
while read line; do i=$((i+1)); echo $i $line; done
echo $secret $(cat note) $(pwd) $(id -u) $$ $(hostname) $(cat /outside/file) $(cat /sys/class/net/lo/operstate)
grep -E '^(NoNewPrivs|Seccomp|Cap...|NSpid)' /proc/$$/status; grep -c . /proc/self/mounts; ulimit -n`;

/** Writing a container to disk, and others that go on from there. */
export function checkpointing(f: Fixture): void {
  const { sh, specOf, start, startWith } = f;
  const it = (title: string, test: () => Promise<void>) => f.it(title, test, { ability: "checkpoint" });
  const empty = () => mkdtempSync(join(f.folder, "checkpoint-"));
  let count = 0;
  /** Another container of the same spec, that goes on from a checkpoint. */
  const like = (options: CreateTask, checkpoint: string): CreateTask => ({
    ...options,
    id: `${options.id}-${count++}`,
    checkpoint,
  });

  /** A container that answers lines. */
  const counting = (): CreateTask => {
    const outside = join(f.folder, "outside");
    mkdirSync(outside, { recursive: true });
    writeFileSync(join(outside, "file"), "outside");
    const options = sh(counter, { process: { noNewPrivileges: true }, spec: { hostname: "written" } });
    const mounts = [
      ...options.spec.mounts ?? [],
      { destination: "/outside", type: "bind", source: outside, options: ["rbind", "ro"] },
      { destination: "/tmp", type: "tmpfs", source: "tmpfs", options: ["nosuid", "mode=1777"] },
    ];
    return { ...options, spec: { ...options.spec, mounts } };
  };
  const dump = async (task: Task, how: Omit<CheckpointOptions, "folder"> = {}) => {
    const folder = empty();
    await demand(task, "checkpoint").checkpoint({ folder, ...how });
    return folder;
  };

  it("is gone on from, as often as one likes, by containers like the one it is of", async () => {
    const options = counting();
    const first = new Conversation(await start(options));
    assert.equal(await first.say("a"), "1 a");
    const checkpoint = await dump(first.task);
    // Itself goes on, too.
    assert.equal(first.task.status, "running");
    assert.equal(await first.say("b"), "2 b");
    const itself = await first.rest();
    assert.match(itself, /^42 kept \/tmp 0 1 written outside /);
    assert.equal((await first.task.wait()).code, 0);
    const again = await Promise.all([1, 2].map(async () => new Conversation(await start(like(options, checkpoint)))));
    for (const restored of again) {
      assert.equal(await restored.say("c"), "2 c");
      assert.equal(await restored.rest(), itself);
      assert.equal((await restored.task.wait()).code, 0);
    }
  });

  it("has every process, and ends the container where that is asked for", async () => {
    const options = sh("sleep 1000 & while read line; do echo $line; done | cat");
    const first = new Conversation(await start(options));
    assert.equal(await first.say("a"), "a");
    const checkpoint = await dump(first.task, { exit: true });
    assert.equal((await first.task.wait()).signal, 9);
    assert.equal(first.task.status, "stopped");
    assert.equal((await first.task.delete())?.code, 137);
    const restored = new Conversation(await start(like(options, checkpoint)));
    assert.equal(await restored.say("b"), "b");
    assert.equal((await demand(restored.task, "stats").pids()).length, 4);
    await restored.task.kill(9);
    assert.equal((await restored.task.wait()).code, 137);
  });

  it("whileStopped() is called when all is written, and nothing of the container runs", async () => {
    const first = new Conversation(await start(sh("echo ready; while :; do :; done")));
    await first.line();
    const ran = () => readFileSync(`/proc/${first.task.pid}/schedstat`, "utf8").split(" ")[0];
    const folder = empty();
    let times: readonly unknown[] = [];
    const whileStopped = async () => {
      assert.ok(existsSync(join(folder, "inventory.img")));
      const before = ran();
      // Time in which it would have run.
      await f.run(sh("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"));
      times = [before, ran()];
    };
    await demand(first.task, "checkpoint").checkpoint({ folder, whileStopped });
    assert.equal(times.length, 2);
    assert.equal(times[0], times[1]);
    await first.cancel();
  });

  it("lets the container go on where what is to fit it fails", async () => {
    const first = new Conversation(await start(counting()));
    const whileStopped = () => Promise.reject(new Error("no room"));
    await assert.rejects(dump(first.task, { whileStopped, exit: true }), /no room/);
    assert.equal(await first.say("a"), "1 a");
    await first.rest();
  });

  it("tells of it", async () => {
    const options = counting();
    let checkpoint = "";
    const events = await f.eventsOf(options.id, async () => {
      const task = await start(options);
      checkpoint = await dump(task, { exit: true });
      await task.delete();
    });
    assert.deepEqual(events.map(({ type }) => type), ["create", "start", "checkpointed", "exit", "delete"]);
    const restored = like(options, checkpoint);
    const told = await f.eventsOf(restored.id, async () => {
      const task = await start(restored);
      await task.delete();
    });
    assert.deepEqual(told.map(({ type }) => type), ["create", "start", "exit", "delete"]);
  });

  it("waits for start() when it is gone on from", async () => {
    const options = counting();
    const first = new Conversation(await start(options));
    assert.equal(await first.say("a"), "1 a");
    const checkpoint = await dump(first.task, { exit: true });
    const task = await f.runtime.create(like(options, checkpoint));
    assert.equal(task.status, "created");
    await assert.rejects(task.kill(15), code("failed_precondition"));
    await assert.rejects(demand(task, "stats").pids(), code("failed_precondition"));
    await assert.rejects(dump(task), code("failed_precondition"));
    assert.equal(await task.delete(), undefined);
    const restored = new Conversation(await start(like(options, checkpoint)));
    await assert.rejects(restored.task.start(), code("failed_precondition"));
    assert.equal(await restored.say("b"), "2 b");
    await restored.rest();
  });

  it("is gone on from by a task that can do what others can", async () => {
    const options = counting();
    const first = new Conversation(await start(options));
    assert.equal(await first.say("a"), "1 a");
    const checkpoint = await dump(first.task, { exit: true });
    const task = await start(like(options, checkpoint));
    const restored = new Conversation(task);
    const other = await demand(task, "exec").exec({
      id: "other",
      process: specOf(["cat", "/tmp/note"]).spec.process,
    });
    assert.equal(await new Reader(other.stdout).rest(), "kept\n");
    assert.equal((await other.delete()).code, 0);
    assert.ok(((await demand(task, "stats").stats()).memoryBytes ?? 0) > 0);
    await demand(task, "pause").pause();
    assert.equal(task.status, "paused");
    await demand(task, "pause").resume();
    await demand(task, "update").update({ pids: { limit: 50 } });
    assert.equal(await restored.say("b"), "2 b");
    // Once more, from there.
    const next = await dump(task, { exit: true });
    const last = new Conversation(await start(like(options, next)));
    assert.equal(await last.say("c"), "3 c");
    await last.rest();
  });

  it("is gone on from within the limits of the new container", async () => {
    const options = sh("read line; x=$(head -c 60000000 /dev/zero | tr '\\0' a); echo ${#x}", {
      linux: { resources: { memory: { limit: 512 * MiB } } },
    });
    const first = await start(options);
    const checkpoint = await dump(first, { exit: true });
    const resources = { memory: { limit: 16 * MiB, swap: 16 * MiB } };
    const again = like(options, checkpoint);
    const spec = { ...again.spec, linux: { ...again.spec.linux, resources } };
    const restored = await start({ ...again, spec });
    await write(restored.stdin, "go\n");
    const { oomKilled, code: exitCode } = await restored.wait();
    assert.notEqual(exitCode, 0);
    assert.equal(oomKilled, true);
  });

  it("keeps TCP connections, those alone that it is told to keep", async () => {
    const options = sh("nc -ll -p 7000 -e cat & until nc 127.0.0.1 7000; do :; done");
    const first = new Conversation(await start(options));
    assert.equal(await first.say("a"), "a");
    await assert.rejects(dump(first.task), (error: unknown) => {
      assert.match(String(error), /tcp-established/);
      return code("failed_precondition")(error);
    });
    assert.equal(await first.say("b"), "b");
    const checkpoint = await dump(first.task, { tcpEstablished: true, exit: true });
    const restored = new Conversation(await start(like(options, checkpoint)));
    assert.equal(await restored.say("c"), "c");
    await restored.task.delete();
    await restored.cancel();
  });

  it("has the hooks of the end run for those that go on from it", async () => {
    const told = join(f.folder, "checkpoint-told");
    const options = counting();
    const poststop = [{ path: "/bin/sh", args: ["sh", "-c", `echo stop >> ${told}`] }];
    const hooked = { ...options, spec: { ...options.spec, hooks: { poststop } } };
    const task = await start(hooked);
    const checkpoint = await dump(task, { exit: true });
    await task.delete();
    const restored = await start(like(hooked, checkpoint));
    await restored.delete();
    assert.equal(readFileSync(told, "utf8"), "stop\nstop\n");
  });

  for (const turn of ["createContainer", "startContainer"]) {
    it(`is refused where hooks would not be run again: ${turn}`, async () => {
      const options = counting();
      const hooked = { ...options, spec: { ...options.spec, hooks: { [turn]: [{ path: "/bin/true" }] } } };
      // Where it is run does not matter here.
      const refused = code("unimplemented");
      await assert.rejects(f.runtime.create(like(hooked, empty())), refused);
    });
  }

  it("is refused where it could not be gone on from, and all stays as it was", async () => {
    const options = counting();
    const created = await f.runtime.create(sh("exit 0"));
    await assert.rejects(dump(created), code("failed_precondition"));
    await created.start();
    await created.wait();
    await assert.rejects(dump(created), code("failed_precondition"));
    const first = new Conversation(await start(options));
    const other = await demand(first.task, "exec").exec({ id: "other", process: specOf(["sleep", "60"]).spec.process });
    await assert.rejects(dump(first.task), code("failed_precondition"));
    await other.delete();
    await demand(first.task, "pause").pause();
    await assert.rejects(dump(first.task), code("failed_precondition"));
    assert.equal(first.task.status, "paused");
    await demand(first.task, "pause").resume();
    assert.equal(await first.say("a"), "1 a");
    await first.rest();
  });

  it("start() tells of one that is none, or is broken", async () => {
    const options = counting();
    const restore = async (folder: string) => {
      const task = await f.runtime.create(like(options, folder));
      await task.start();
    };
    await assert.rejects(restore(empty()), code("invalid_argument"));
    const first = await start(options);
    const broken = await dump(first, { exit: true });
    for (const name of readdirSync(broken)) if (name.startsWith("core-")) writeFileSync(join(broken, name), "nothing");
    const task = await f.runtime.create(like(options, broken));
    await assert.rejects(task.start(), (error: unknown) => {
      assert.match(String(error), /criu/);
      return code("failed_precondition")(error);
    });
    assert.equal(task.status, "stopped");
    await assert.rejects(task.wait(), code("failed_precondition"));
    await task.kill();
    assert.equal(await task.delete(), undefined);
  });

  f.it("is refused by name where there are none", async () => {
    const task = await startWith("pause", specOf(["sleep", "60"]));
    assert.equal(can(task, "checkpoint"), false);
    await assert.rejects(f.runtime.create(like(specOf(["sleep", "60"]), empty())), code("unimplemented"));
  }, { without: "checkpoint" });
}

/** Talks with a container that answers each line with one. */
class Conversation {
  readonly task: Task;
  readonly #output: Reader;

  constructor(task: Task) {
    this.task = task;
    this.#output = new Reader(task.stdout);
  }

  async say(line: string): Promise<string> {
    await write(this.task.stdin, `${line}\n`);
    return await this.line();
  }

  line(): Promise<string> {
    return this.#output.line();
  }

  /** What it says when there are no more lines. */
  async rest(): Promise<string> {
    await this.task.stdin?.close();
    return await this.#output.rest();
  }

  cancel(): Promise<void> {
    return this.#output.cancel();
  }
}
