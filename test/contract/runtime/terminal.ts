import assert from "node:assert/strict";
import { can, demand } from "../../../src/core/task.ts";
import { code, type Fixture, Reader, write } from "./fixture.ts";

/** Containers and processes with a terminal. */
export function terminal(f: Fixture): void {
  const { it, sh, specOf, start, startWith } = f;
  const changes = { process: { terminal: true } };
  const needs = { ability: "resize" } as const;

  it("is the container's: its streams, its session, its signals", async () => {
    // The trap comes first: a shell also ends with a command that the signal has ended.
    const script = "trap 'echo interrupted; exit 3' INT; test -t 0 && test -t 1 && test -t 2 && echo is one; " +
      "cat /proc/self/stat; ls -l /dev/console; while :; do sleep 0.01; done";
    const task = await start(sh(script, changes));
    assert.equal(task.stderr, undefined);
    const reader = new Reader(task.stdout);
    assert.equal(await reader.line(), "is one");
    const terminal = (await reader.line()).replace(/^.*\) /, "").split(" ")[4];
    assert.notEqual(terminal, "0", "it has no controlling terminal");
    assert.match(await reader.line(), /^c.*\/dev\/console/);
    await write(task.stdin, "\x03");
    assert.match(await reader.rest(), /interrupted\r\n$/);
    assert.equal((await task.wait()).code, 3);
  }, needs);

  it("gives back what is typed, and ends with ^D", async () => {
    const task = await start(specOf(["cat"], changes));
    const reader = new Reader(task.stdout);
    await write(task.stdin, "hello\n");
    assert.equal(await reader.line(), "hello");
    assert.equal(await reader.line(), "hello");
    await write(task.stdin, "\x04");
    assert.equal(await reader.rest(), "");
    assert.equal((await task.wait()).code, 0);
  }, needs);

  it("loses nothing of a command that ends at once", async () => {
    for (let round = 0; round < 5; round++) {
      const task = await start(sh("seq 1 2000; exit 5", changes));
      const reader = new Reader(task.stdout);
      const [words, exit] = await Promise.all([reader.rest(), task.wait()]);
      assert.equal(words.trimEnd().split("\r\n").length, 2000);
      assert.equal(exit.code, 5);
      await task.delete();
    }
  }, needs);

  it("has a size, which can be changed", async () => {
    const script = "trap 'busybox stty size; exit' WINCH; busybox stty size; while :; do sleep 0.01; done";
    const consoleSize = { width: 100, height: 30 };
    const task = await startWith("resize", sh(script, { process: { terminal: true, consoleSize } }));
    const reader = new Reader(task.stdout);
    assert.equal(await reader.line(), "30 100");
    await task.resize({ width: 81, height: 25 });
    assert.equal(await reader.line(), "25 81");
    await task.wait();
    const plain = await startWith("resize", specOf(["sleep", "60"]));
    await assert.rejects(plain.resize({ width: 1, height: 1 }), code("failed_precondition"));
  }, needs);

  it("can be a process's that is executed", async () => {
    const task = await startWith("exec", specOf(["sleep", "60"]));
    const base = specOf(["sh", "-c", "test -t 0 && echo is one; read x; busybox stty size; exit 6"]).spec.process;
    const process = await task.exec({ id: "typed", process: { ...base, terminal: true } });
    assert.equal(process.stderr, undefined);
    assert.ok(can(process, "resize"));
    const reader = new Reader(process.stdout);
    assert.equal(await reader.line(), "is one");
    await demand(process, "resize").resize({ width: 99, height: 11 });
    await write(process.stdin, "\n");
    assert.match(await reader.rest(), /11 99\r\n$/);
    assert.equal((await process.wait()).code, 6);
  }, needs);
}
