import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { describe, it } from "node:test";
import { currentHost } from "../../src/host/mod.ts";
import { Kernel } from "../../src/linux/kernel.ts";
import type { Operation } from "../../src/linux/program.ts";
import { Templates } from "../../src/linux/templates.ts";
import { busybox, reap } from "./child.ts";

const kernel = new Kernel(await currentHost());

/** Executes a shell with a command of its own, when it has slept. */
function shell(milliseconds: number): Operation[] {
  const time = [0, milliseconds * 1_000_000];
  return [
    { syscall: "clock_nanosleep", args: [1, 0, time, 0], why: "sleep" },
    { syscall: "execve", args: [busybox, ["sh", "-c", { hole: "command" }, 0], [0]], why: "execute the shell" },
  ];
}

describe("Templates", () => {
  it("has this thread go on beside its children, each with values of its own", async () => {
    using templates = new Templates(kernel, shell(50));
    const made = [3, 4, 5].map((code) => templates.spawn({ command: `exit ${code}` }, {}));
    let first = false;
    made[0]?.then(() => first = true);
    await new Promise((resolve) => setTimeout(resolve, 0));
    assert.equal(first, false, "the event loop has turned while they slept");
    const children = await Promise.all(made);
    assert.deepEqual(children.map((child) => reap(kernel, child)), [3, 4, 5]);
    assert.equal(reap(kernel, await templates.spawn({ command: "exit 6" }, {})), 6);
  });

  it("tells the step that fails, and leaves no child and no descriptor", async () => {
    const before = readdirSync("/proc/self/fd").length;
    using templates = new Templates(kernel, [
      { syscall: "chdir", args: [{ hole: "folder" }], why: "enter the folder" },
      { syscall: "execve", args: [busybox, ["true", 0], [0]], why: "execute true" },
    ]);
    await assert.rejects(templates.spawn({ folder: "/nowhere" }, {}), {
      code: "not_found",
      errno: "ENOENT",
      message: /^enter the folder/,
    });
    await assert.rejects(templates.spawn({}, {}), { code: "invalid_argument" });
    assert.equal(reap(kernel, await templates.spawn({ folder: "/" }, {})), 0);
    assert.equal(readdirSync("/proc/self/fd").length, before);
  });

  it("tells that a child was killed on its way", async () => {
    using templates = new Templates(kernel, [
      { syscall: "getpid", args: [], store: "own", why: "ask" },
      { syscall: "kill", args: [{ ref: "own" }, 9], why: "kill itself" },
      { syscall: "execve", args: [busybox, ["true", 0], [0]], why: "execute true" },
    ]);
    await assert.rejects(templates.spawn({}, {}), { code: "aborted", message: "kill itself: the child was killed" });
  });

  it("may be disposed of while a child is on its way", async () => {
    const templates = new Templates(kernel, shell(20));
    const made = templates.spawn({ command: "exit 7" }, {});
    templates[Symbol.dispose]();
    assert.equal(reap(kernel, await made), 7);
  });
});
