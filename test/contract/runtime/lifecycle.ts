import assert from "node:assert/strict";
import { code, type Fixture, Reader } from "./fixture.ts";

/** What becomes of a task, from its creation until nothing is left of it. */
export function lifecycle(f: Fixture): void {
  const { it, specOf, sh, run, start } = f;
  it("goes created, running, stopped, gone", async () => {
    const options = sh("read line");
    const task = await f.runtime.create(options);
    assert.equal(task.status, "created");
    assert.ok(task.pid === undefined || task.pid > 1);
    const exited = task.wait();
    await task.start();
    assert.equal(task.status, "running");
    assert.ok(task.pid !== undefined && task.pid > 1);
    assert.deepEqual(f.runtime.tasks().map(({ id }) => id), [options.id]);
    const writer = task.stdin?.getWriter();
    await writer?.write(new TextEncoder().encode("go\n"));
    const exit = await exited;
    await writer?.close().catch(() => {});
    assert.equal(task.status, "stopped");
    assert.equal(exit.code, 0);
    assert.equal(exit.signal, undefined);
    assert.ok(Math.abs(exit.exitedAt.getTime() - Date.now()) < 10_000);
    assert.deepEqual(await task.delete(), exit);
    assert.deepEqual(f.runtime.tasks(), []);
  });

  for (const code of [0, 1, 42, 255]) {
    it(`tells exit status ${code}`, async () => {
      assert.equal((await run(sh(`exit ${code}`))).exit.code, code);
    });
  }

  for (const signal of [9, 6]) {
    it(`tells that signal ${signal} ended it`, async () => {
      // PID 1 is not killed by its own signals: a child is, and the shell says so.
      const { exit } = await run(sh(`sh -c 'kill -${signal} $$'; exit $?`));
      assert.equal(exit.code, 128 + signal);
    });
  }

  it("kill() ends it, and is no error afterwards", async () => {
    const task = await f.runtime.create(specOf(["sleep", "60"]));
    await task.start();
    await task.kill();
    const exit = await task.wait();
    assert.equal(exit.code, 137);
    assert.equal(exit.signal, 9);
    assert.equal(exit.oomKilled, false);
    await task.kill();
    await task.delete();
    await task.kill();
  });

  it("kill() sends other signals", async () => {
    const task = await f.runtime.create(sh("trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done"));
    await task.start();
    const reader = task.stdout?.getReader();
    await reader?.read();
    await task.kill(15);
    assert.equal((await task.wait()).code, 7);
    await reader?.cancel();
    await task.delete();
  });

  it("kill() refuses a signal that there is none of", async () => {
    const task = await f.runtime.create(specOf(["sleep", "60"]));
    await task.start();
    await assert.rejects(task.kill(999), code("invalid_argument"));
    await task.delete();
  });

  it("start() refuses a second time", async () => {
    const task = await f.runtime.create(specOf(["sleep", "60"]));
    await task.start();
    await assert.rejects(task.start(), code("failed_precondition"));
    await task.delete();
    await assert.rejects(task.start(), code("failed_precondition"));
  });

  it("delete() kills, may be called again, and may come before start", async () => {
    const running = await f.runtime.create(specOf(["sleep", "60"]));
    await running.start();
    const exits = await Promise.all([running.delete(), running.delete()]);
    assert.equal(exits[0]?.signal, 9);
    assert.deepEqual(exits[1], exits[0]);
    const created = await f.runtime.create(specOf(["true"]));
    assert.equal(await created.delete(), undefined);
    assert.equal(await created.delete(), undefined);
    await assert.rejects(created.wait(), code("failed_precondition"));
  });

  it("ends what it left in the background", async () => {
    const { stdout, exit } = await run(sh("sleep 60 & echo $!"));
    assert.equal(exit.code, 0);
    assert.match(stdout, /^\d+\n$/);
  });

  it("create() refuses an id in use, and ids that are none", async () => {
    const options = specOf(["true"]);
    const task = await f.runtime.create(options);
    await assert.rejects(f.runtime.create(options), code("already_exists"));
    await task.delete();
    for (const id of ["", "-a", "../x", "a/b", "a".repeat(129)]) {
      await assert.rejects(f.runtime.create({ ...options, id }), code("invalid_argument"), id);
    }
  });

  it("loads and deletes tasks by their ids", async () => {
    const task = await start(specOf(["sleep", "60"]));
    assert.equal(await f.runtime.load(task.id), task);
    assert.equal((await f.runtime.delete(task.id))?.signal, 9);
    await assert.rejects(f.runtime.load(task.id), code("not_found"));
    await assert.rejects(f.runtime.delete(task.id), code("not_found"));
    await assert.rejects(f.runtime.load("../x"), code("not_found"));
  });

  it("takes an id again that was given back", async () => {
    const options = specOf(["true"]);
    for (let round = 0; round < 3; round++) assert.equal((await run(options)).exit.code, 0);
  });

  it("takes ids of every form", async () => {
    for (const id of ["a", "0", "a.b_c-d", "x".repeat(128)]) {
      const options = specOf(["true"], {}, id);
      assert.equal((await run(options)).exit.code, 0, id);
    }
  });

  it("tells every waiter of the same end", async () => {
    const task = await start(sh("exit 3"));
    const exits = await Promise.all([task.wait(), task.wait()]);
    const again = await task.wait();
    assert.equal(again.code, 3);
    for (const exit of exits) assert.deepEqual(exit, again);
  });

  it("kill(all) reaches every process", async () => {
    const task = await start(sh("sleep 60 & sleep 60 & echo ready; wait; exit 5"));
    const reader = new Reader(task.stdout);
    await reader.line();
    await task.kill(9, { all: true });
    assert.equal((await task.wait()).signal, 9);
    const other = await start(sh("trap 'exit 6' TERM; sleep 60 & echo ready; wait; exit 5"));
    const words = new Reader(other.stdout);
    await words.line();
    await other.kill(15, { all: true });
    const { code } = await other.wait();
    assert.ok(code === 5 || code === 6, `exit status ${code}`);
    await reader.cancel();
    await words.cancel();
  });

  it("a second start tells a created task from a stopped one", async () => {
    const task = await start(sh("exit 0"));
    await task.wait();
    await assert.rejects(task.start(), code("failed_precondition"));
    assert.equal(task.status, "stopped");
    assert.equal((await task.delete())?.code, 0);
    await assert.rejects(task.start(), code("failed_precondition"));
  });

  it("leaves nothing where the root is not there", async () => {
    const rootfs = { mounts: [{ type: "bind", source: `${f.folder}/nonesuch`, options: ["rbind", "ro"] }] };
    await assert.rejects(run({ ...specOf(["true"]), rootfs }), code("not_found", "failed_precondition"));
    assert.deepEqual(f.runtime.tasks(), []);
  });

  it("runs 16 at once", async () => {
    const runs = Array.from({ length: 16 }, (_, index) => run(sh(`cat; exit ${index}`), `hello ${index}`));
    for (const [index, { exit, stdout }] of (await Promise.all(runs)).entries()) {
      assert.equal(exit.code, index);
      assert.equal(stdout, `hello ${index}`);
    }
  });
}
