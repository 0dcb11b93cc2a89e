import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { after, before, describe, it } from "node:test";
import type { NativeRuntime } from "../../runtimes/native/runtime.ts";
import { codeOf } from "../../src/core/errors.ts";
import type { Rootfs } from "../../src/core/mount.ts";
import type { Spec } from "../../src/core/spec.ts";
import { demand, type Task } from "../../src/core/task.ts";
import { currentHost } from "../../src/host/mod.ts";
import { AT_FDCWD, O_DIRECTORY, O_RDONLY } from "../../src/linux/flags.ts";
import { Kernel } from "../../src/linux/kernel.ts";
import { makeBusyboxRoot } from "../support/busybox_image.ts";
import { busyboxRootfs, nativeRuntime, specFor } from "./native_runtime.ts";

/*
 * Attacks that worked on container runtimes, tried on this one. Each begins with what the attacker had: an image, or a
 * configuration with the image's or a tenant's own paths in it.
 */

let count = 0;

describe("attacks on the native runtime", { skip: process.geteuid?.() === 0 ? false : "it takes root" }, () => {
  let folder: string;
  let runtime: NativeRuntime;
  const kernels: Kernel[] = [];

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "mayfly-attacks-"));
    runtime = await nativeRuntime(join(folder, "run"), `/mayfly-attacks-${process.pid}`);
    kernels.push(new Kernel(await currentHost()));
  });

  after(async () => {
    await runtime[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  /** An image of the attacker's. */
  function image(prepare: (root: string) => void = () => {}): Rootfs {
    const root = join(folder, `image${count++}`);
    makeBusyboxRoot(root);
    prepare(root);
    return busyboxRootfs(root);
  }

  interface Changes {
    readonly process?: Partial<Spec["process"]>;
    readonly linux?: Partial<Spec["linux"]>;
    readonly mounts?: Spec["mounts"];
  }

  function create(args: readonly string[], rootfs: Rootfs, changes: Changes = {}): Promise<Task> {
    const base = specFor(args);
    const spec: Spec = {
      ...base,
      process: { ...base.process, ...changes.process },
      linux: { ...base.linux, ...changes.linux },
      mounts: changes.mounts ?? base.mounts ?? [],
    };
    return runtime.create({ id: `a${count++}`, spec, rootfs });
  }

  /** Runs a script; undefined where the runtime refuses to start it. */
  async function outcome(script: string, rootfs: Rootfs, changes: Changes = {}): Promise<string | undefined> {
    let task: Task | undefined;
    try {
      task = await create(["sh", "-c", script], rootfs, changes);
      await task.start();
    } catch (error) {
      assert.ok(["failed_precondition", "invalid_argument", "not_found"].includes(codeOf(error)), String(error));
      await task?.delete();
      return undefined;
    }
    const [text] = await Promise.all([new Response(task.stdout).text(), task.wait()]);
    await task.delete();
    return text;
  }

  async function running(
    args: readonly string[],
    rootfs: Rootfs,
    changes: Changes,
    use: (task: Task) => Promise<void>,
  ) {
    const task = await create(args, rootfs, changes);
    try {
      await task.start();
      await use(task);
    } finally {
      await task.delete();
    }
  }

  const withoutDev = () => specFor(["true"]).mounts?.filter(({ destination }) => !destination.startsWith("/dev")) ?? [];
  const withDev = (source: string) => [
    ...withoutDev(),
    { destination: "/dev", type: "bind", source, options: ["bind", "rw"] },
  ];

  describe("CVE-2019-5736: the runtime's own executable, by /proc/self/exe", () => {
    const executable = () => {
      const { size, mtimeMs, ino } = statSync(process.execPath);
      return { size, mtimeMs, ino };
    };

    const commands: readonly (readonly [what: string, prepare: (root: string) => void])[] = [
      ["a link", (root) => symlinkSync("/proc/self/exe", join(root, "bin/evil"))],
      ["an interpreter", (root) => writeFileSync(join(root, "bin/evil"), "#!/proc/self/exe\n", { mode: 0o755 })],
      ["an interpreter behind a link", (root) => {
        symlinkSync("/proc/self/exe", join(root, "bin/link"));
        writeFileSync(join(root, "bin/evil"), "#!/bin/link\n", { mode: 0o755 });
      }],
    ];
    for (const [what, prepare] of commands) {
      it(`as ${what}, it is nothing of the daemon's`, async () => {
        const before = executable();
        const rootfs = image(prepare);
        // What runs, if anything does, is a sealed file in memory that ends when it has nothing to do.
        const evil = await create(["evil"], rootfs);
        await evil.start().then(() => evil.wait(), () => {});
        await evil.delete();
        await running(["sleep", "60"], rootfs, {}, async (task) => {
          const spec = { ...specFor(["evil"]).process };
          await demand(task, "exec").exec({ id: "evil", process: spec }).then((evil) => evil.wait(), () => {});
        });
        assert.deepEqual(executable(), before);
      });
    }

    it("it cannot be opened from inside while processes come in", async () => {
      const script = "echo ready; while [ ! -e /stop ]; do for p in /proc/[0-9]*; do " +
        "[ $p = /proc/1 ] || (: >> $p/exe) 2>/dev/null && [ $p != /proc/1 ] && echo opened $p; done; done";
      await running(["sh", "-c", script], image(), {}, async (task) => {
        const text = new Response(task.stdout).text();
        for (let round = 0; round < 12; round++) {
          const each = await demand(task, "exec").exec({ id: `e${round}`, process: specFor(["true"]).process });
          await each.delete();
        }
        const stop = await demand(task, "exec").exec({ id: "stop", process: specFor(["touch", "/stop"]).process });
        await stop.wait();
        await stop.delete();
        assert.equal(await text, "ready\n");
      });
    });
  });

  describe("CVE-2024-21626: a working folder that is a descriptor of the runtime's", () => {
    it("leads nowhere, for init and for an exec", async () => {
      const outside = join(folder, "outside");
      mkdirSync(outside, { recursive: true });
      writeFileSync(join(outside, "secret"), "");
      const [kernel] = kernels;
      assert.ok(kernel !== undefined);
      // Whoever else is in this process may have a folder open that is not closed on execution.
      const leaked = kernel.call("openat", AT_FDCWD, outside, O_RDONLY | O_DIRECTORY, 0);
      try {
        const rootfs = image((root) => symlinkSync(`/proc/self/fd/${leaked}`, join(root, "work")));
        const places = [
          ...Array.from({ length: 24 }, (_, fd) => `/proc/self/fd/${fd}`),
          `/proc/self/fd/${leaked}`,
          "/work",
        ];
        for (const cwd of places) {
          const text = await outcome("pwd -P; ls; ls ..", rootfs, { process: { cwd } });
          assert.ok(text === undefined || !text.includes("secret"), `${cwd}: ${text}`);
        }
        await running(["sleep", "60"], rootfs, {}, async (task) => {
          for (const [index, cwd] of places.entries()) {
            const spec = { ...specFor(["sh", "-c", "pwd -P; ls; ls .."]).process, cwd };
            const each = await demand(task, "exec").exec({ id: `x${index}`, process: spec }).catch(() => undefined);
            if (each === undefined) continue;
            const text = await new Response(each.stdout).text();
            assert.ok(!text.includes("secret"), `${cwd}: ${text}`);
            await each.delete();
          }
        });
      } finally {
        kernel.call("close", leaked);
      }
    });
  });

  describe("CVE-2025-31133: masked paths, with another file for /dev/null", () => {
    const target = "/proc/sys/kernel/hostname";
    const maskedPaths = ["/proc/version", "/etc/passwd"];
    const script = `cat /proc/version /etc/passwd | wc -c; grep -c ' ${target} ' /proc/self/mountinfo`;

    it("an image's link is replaced", async () => {
      const rootfs = image((root) => {
        rmSync(join(root, "dev"), { recursive: true, force: true });
        mkdirSync(join(root, "dev"));
        symlinkSync(target, join(root, "dev/null"));
      });
      assert.equal(await outcome(script, rootfs, { mounts: withoutDev(), linux: { maskedPaths } }), "0\n0\n");
    });

    const hostile: readonly (readonly [what: string, prepare: (dev: string) => void])[] = [
      ["a link", (dev) => symlinkSync(target, join(dev, "null"))],
      ["a file", (dev) => writeFileSync(join(dev, "null"), "shown in place of what is masked")],
      ["an empty file", (dev) => writeFileSync(join(dev, "null"), "")],
      ["a folder", (dev) => mkdirSync(join(dev, "null"))],
      ["nothing", () => {}],
    ];
    for (const [what, prepare] of hostile) {
      it(`${what} in a volume is refused`, async () => {
        const dev = join(folder, `dev${count++}`);
        mkdirSync(dev);
        prepare(dev);
        assert.equal(await outcome(script, image(), { mounts: withDev(dev), linux: { maskedPaths } }), undefined);
      });
    }

    it("one that is put there in between is never used", async () => {
      const dev = join(folder, `dev${count++}`);
      mkdirSync(dev);
      const loop = "while :; do mknod n c 1 3; mv n null; ln -s " + target + " l; mv l null; done";
      const flipper = spawn("/bin/busybox", ["sh", "-c", loop], { cwd: dev, stdio: "ignore" });
      try {
        const rootfs = image();
        for (let round = 0; round < 30; round++) {
          const text = await outcome(script, rootfs, { mounts: withDev(dev), linux: { maskedPaths } });
          assert.ok(text === undefined || text === "0\n0\n", text);
        }
      } finally {
        const exited = once(flipper, "exit");
        flipper.kill("SIGKILL");
        await exited;
      }
    });
  });

  describe("CVE-2025-52565: the console, with a link in its place", () => {
    const target = "/proc/sys/kernel/hostname";
    const script = `grep -c ' /proc/sys' /proc/self/mountinfo; cat ${target}`;

    it("is bound to no other file", async () => {
      const dev = join(folder, `dev${count++}`);
      mkdirSync(dev);
      symlinkSync(target, join(dev, "console"));
      symlinkSync("pts/ptmx", join(dev, "ptmx"));
      mkdirSync(join(dev, "pts"));
      const devices = [
        ...withDev(dev),
        ...specFor(["true"]).mounts?.filter(({ destination }) => destination === "/dev/pts") ?? [],
      ];
      const fromImage = image((root) => symlinkSync(target, join(root, "dev/console")));
      for (const [rootfs, mounts] of [[image(), devices], [fromImage, withoutDev()]] as const) {
        const changes = { process: { terminal: true }, linux: { maskedPaths: [], readonlyPaths: [] }, mounts };
        const text = await outcome(script, rootfs, changes);
        assert.ok(text === undefined || /^0\r?\n/.test(text), text);
      }
    });
  });

  describe("CVE-2025-52881: writes to /proc, with another filesystem in its place", () => {
    it("settings and scores go to the kernel, and nowhere else", async () => {
      const fake = join(folder, "proc");
      for (const path of ["sys/net/ipv4", "sys/kernel", "self/attr", "thread-self/attr", "1"]) {
        mkdirSync(join(fake, path), { recursive: true });
      }
      const files = ["sys/net/ipv4/ip_unprivileged_port_start", "sys/kernel/shmmax", "self/oom_score_adj"];
      for (const file of files) writeFileSync(join(fake, file), "untouched");
      const before = readFileSync("/proc/sys/net/ipv4/ip_unprivileged_port_start", "utf8");
      const mounts = [
        ...specFor(["true"]).mounts?.filter(({ destination }) => destination !== "/proc") ?? [],
        { destination: "/proc", type: "bind", source: fake, options: ["bind", "rw"] },
        { destination: "/real", type: "proc", source: "proc" },
      ];
      const sysctl = { "net.ipv4.ip_unprivileged_port_start": "81", "kernel.shmmax": "65536" };
      const script =
        "cat /real/self/oom_score_adj /real/sys/net/ipv4/ip_unprivileged_port_start /real/sys/kernel/shmmax; read x";
      await running(["sh", "-c", script], image(), {
        mounts,
        process: { oomScoreAdj: 321 },
        linux: { sysctl, maskedPaths: [], readonlyPaths: [] },
      }, async (task) => {
        const reader = task.stdout?.getReader();
        let text = "";
        while (!text.endsWith("65536\n")) {
          const next = await reader?.read();
          assert.equal(next?.done, false, text);
          text += new TextDecoder().decode(next?.value);
        }
        assert.equal(text, "321\n81\n65536\n");
        const spec = { ...specFor(["cat", "/real/self/oom_score_adj"]).process, oomScoreAdj: 322 };
        const each = await demand(task, "exec").exec({ id: "x", process: spec });
        assert.equal(await new Response(each.stdout).text(), "322\n");
        await each.delete();
      });
      for (const file of files) assert.equal(readFileSync(join(fake, file), "utf8"), "untouched", file);
      assert.equal(readFileSync("/proc/sys/net/ipv4/ip_unprivileged_port_start", "utf8"), before);
      assert.deepEqual(readdirSync(join(fake, "self/attr")), []);
    });

    it("masked and read-only paths are those of the kernel's own /proc, or none", async () => {
      const rootfs = image((root) => {
        rmSync(join(root, "proc"), { recursive: true, force: true });
        symlinkSync("/tmp", join(root, "proc"));
        mkdirSync(join(root, "tmp/sys"), { recursive: true });
      });
      assert.equal(await outcome("true", rootfs), undefined);
    });
  });
});
