import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { after, before, describe, it } from "node:test";
import type { NativeRuntime } from "../../runtimes/native/runtime.ts";
import type { Rootfs } from "../../src/core/mount.ts";
import type { Spec } from "../../src/core/spec.ts";
import { demand } from "../../src/core/task.ts";
import { makeBusyboxRoot } from "../support/busybox_image.ts";
import { busyboxRootfs, nativeRuntime, specFor } from "./native_runtime.ts";

const isRoot = process.geteuid?.() === 0;

/*
 * What a process sees of the launches in its own pid namespace, as root without capabilities: of one that still is the
 * daemon, its memory and descriptors (CVE-2016-9962), its program (CVE-2019-5736), its working directory (CVE-2024-21626).
 */
describe("NativeRuntime, seen from inside a container", { skip: isRoot ? false : "it takes root" }, () => {
  const cgroupParent = `/mayfly-test-${process.pid}-visible`;
  let folder: string;
  let runtime: NativeRuntime;
  let rootfs: Rootfs;

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "mayfly-visible-"));
    makeBusyboxRoot(join(folder, "root"));
    rootfs = busyboxRootfs(join(folder, "root"));
    runtime = await nativeRuntime(join(folder, "run"), cgroupParent);
  });

  after(async () => {
    await runtime[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  /** Tells what it can get of a process: its status comes first, which anybody may read. */
  const look = (pid: string) =>
    `p=${pid}; ` +
    "head -n 1 /proc/$p/status >/dev/null 2>&1 || cat /proc/$p/comm; " +
    "for f in maps environ auxv; do dd if=/proc/$p/$f of=/dev/null bs=64 count=1 2>/dev/null && echo read $f; done; " +
    "dd if=/proc/$p/mem of=/dev/null bs=1 count=1 skip=4194304 2>/dev/null && echo read mem; " +
    "for l in exe cwd root fd/0 fd/1 fd/3 fd/100; do readlink /proc/$p/$l >/dev/null 2>&1 && echo followed $l; done; " +
    ": > /proc/$p/exe 2>/dev/null && echo wrote exe; true";

  const bare = (args: readonly string[], linux: Partial<Spec["linux"]> = {}): Spec => {
    const spec = specFor(args);
    const { seccomp: _, ...rest } = spec.linux;
    return { ...spec, process: { ...spec.process, capabilities: {} }, linux: { ...rest, ...linux } };
  };

  async function attacked(): Promise<
    { id: string; see(script: string): Promise<string>; pid: number; done(): Promise<void> }
  > {
    const id = `a${Math.random().toString(36).slice(2, 8)}`;
    const task = await runtime.create({ id, spec: bare(["sleep", "600"]), rootfs, lazy: true });
    await task.start();
    let count = 0;
    return {
      id,
      pid: task.pid ?? 0,
      async see(script) {
        const made = await demand(task, "exec").exec({
          id: `see${count++}`,
          process: bare(["sh", "-c", script]).process,
        });
        const text = await new Response(made.stdout).text();
        await made.delete();
        return text;
      },
      async done() {
        await task.delete();
      },
    };
  }

  it("shows nothing of a process that waits for its start there", async () => {
    const attacker = await attacked();
    const namespaces = bare(["true"]).linux.namespaces?.map(({ type }) =>
      type === "pid" ? { type, path: `/proc/${attacker.pid}/ns/pid` } : { type }
    ) ?? [];
    const waiting = await runtime.create({ id: "waiting", spec: bare(["sleep", "60"], { namespaces }), rootfs });
    const find = "for d in /proc/[0-9]*; do grep -q memfd:mayfly $d/status 2>/dev/null && echo ${d#/proc/}; done";
    const found = (await attacker.see(find.replaceAll("grep", "busybox grep"))).trim();
    assert.match(found, /^\d+$/, "the process is to be seen, or there is nothing to try");
    assert.equal(await attacker.see(look(found)), "");
    // The same tries do read what is its own.
    assert.match(await attacker.see(look("self")), /read maps[^]*followed exe/);
    await waiting.start();
    await waiting.delete();
    await attacker.done();
  });

  it("shows nothing of the daemon while processes are made there", async () => {
    const attacker = await attacked();
    const namespaces = bare(["true"]).linux.namespaces?.map(({ type }) =>
      type === "pid" ? { type, path: `/proc/${attacker.pid}/ns/pid` } : { type }
    ) ?? [];
    // What is executed in the end is its user's, and may be looked at: everything before it not.
    const watch = "end=$(( $(cut -d. -f1 /proc/uptime 2>/dev/null || busybox cut -d. -f1 /proc/uptime) + 3 )); " +
      "while [ $(busybox cut -d. -f1 /proc/uptime) -lt $end ]; do for d in /proc/[0-9]*; do " +
      "t=$(readlink $d/exe 2>/dev/null) || continue; case $t in *busybox*|'') ;; *) echo exe $t;; esac; " +
      "for n in 3 4 5 100 101; do t=$(readlink $d/fd/$n 2>/dev/null) && case $t in *socket*|*memfd*) echo fd $t;; esac; done; " +
      "c=$(readlink $d/cwd 2>/dev/null) && case $c in /|/proc*) ;; *) echo cwd $c;; esac; " +
      "done; done";
    const seen = attacker.see(watch);
    let over = false;
    seen.finally(() =>
      over = true
    ).catch(() => {});
    const task = await runtime.load(attacker.id);
    for (let round = 0; !over; round++) {
      const made = await demand(task, "exec").exec({ id: `x${round}`, process: bare(["true"]).process });
      await made.delete();
      const other = await runtime.create({ id: `w${round}`, spec: bare(["true"], { namespaces }), rootfs });
      await other.start();
      await other.delete();
    }
    assert.deepEqual([...new Set((await seen).split("\n"))].filter((line) => line !== ""), []);
    await attacker.done();
  });

  it("starts in no folder of the host", async () => {
    const spec = bare([
      "sh",
      "-c",
      "pwd; for up in . .. ../.. ../../..; do test -e $up/etc/debian_version && echo escaped; done; true",
    ]);
    for (const cwd of ["/proc/self/fd/3", "/proc/self/fd/7", "/proc/self/fd/100", "/proc/self/fd/101/../../.."]) {
      for (const lazy of [true, false]) {
        const task = await runtime.create({
          id: "cwd",
          spec: { ...spec, process: { ...spec.process, cwd } },
          rootfs,
          lazy,
        }).catch(() => undefined);
        const started = await task?.start().then(() => true, () => false);
        if (started) assert.match(await new Response(task?.stdout).text(), /^\/[^(\n]*\n$/);
        await task?.delete();
      }
    }
  });
});
