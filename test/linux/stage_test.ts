import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { after, describe, it } from "node:test";
import { currentHost } from "../../src/host/mod.ts";
import { Children } from "../../src/linux/children.ts";
import { errno } from "../../src/linux/errno.ts";
import * as f from "../../src/linux/flags.ts";
import { Kernel } from "../../src/linux/kernel.ts";
import { pipe } from "../../src/linux/pipe.ts";
import type { Operation, Program } from "../../src/linux/program.ts";
import type { Stage } from "../../src/linux/stage.ts";
import { announcement } from "../../src/linux/stage.ts";
import { Stages } from "../../src/linux/stages.ts";
import { init } from "../../src/linux/stub/layout.ts";
import { busybox } from "./child.ts";

const kernel = new Kernel(await currentHost());
const children = new Children(kernel);
const stages = new Stages(kernel, children);
const isRoot = kernel.call("geteuid") === 0;
const needsBusybox = existsSync(busybox) ? false : `there is no ${busybox}`;
const needsRoot = isRoot ? false : "only root makes namespaces";
const descriptors = () => readdirSync("/proc/self/fd").length;
const nothing = new Map([[0, null], [1, null], [2, null]]);
const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

/** Says who the process has become: the kernel sends its process id along. */
const announce: Operation = {
  syscall: "sendto",
  args: [init.control, announcement, 1, f.MSG_NOSIGNAL, 0, 0],
  why: "announce itself",
};

const getpid: Program = [{ syscall: "getpid", args: [], store: "pid", why: "ask" }];

/** Goes on in a child: where a pid namespace has been made or joined, that is inside. */
const fork: Program = [
  { syscall: "clone", args: [f.CLONE_PARENT | f.SIGCHLD, 0, 0, 0, 0], why: "make a child", onZero: { goto: "child" } },
  { syscall: "exit_group", args: [0], why: "end" },
  { syscall: "getpid", args: [], store: "pid", why: "ask", label: "child" },
];

describe("Stage", () => {
  after(() => {
    stages[Symbol.dispose]();
    children.close();
  });

  const use = async (body: (stage: Stage) => Promise<void>, given: ReadonlyMap<number, number | null> = nothing) => {
    const stage = stages.spawn(given);
    try {
      await body(stage);
    } finally {
      await stage.abandon();
    }
  };

  it("run() runs one program after another in the same process", () =>
    use(async (stage) => {
      const { pid } = stage.process;
      for (let round = 0; round < 3; round++) assert.equal((await stage.run(getpid)).get("pid"), pid);
      const results = await stage.run([
        { syscall: "pipe2", args: [{ out: "ends", size: 8 }, f.O_CLOEXEC], why: "make a pipe" },
        { syscall: "write", args: [{ ref: "ends", at: 4 }, { hole: "text" }, 5], why: "write" },
        { syscall: "read", args: [{ ref: "ends" }, { out: "text", size: 9 }, 9], store: "length", why: "read" },
      ], { text: "hello" });
      assert.equal(results.get("length"), 5);
      assert.equal(text(results.bytes("text")), "hello\0\0\0\0");
    }));

  it("ahead() lets a program run meanwhile, and tells then what it failed with", () =>
    use(async (stage) => {
      await stage.ahead(getpid)();
      const done = stage.ahead([{ syscall: "chdir", args: ["/nonesuch"], why: "enter the folder" }]);
      await assert.rejects(done(), (error) => /enter the folder: no such file/.test(String(error)));
      assert.equal((await stage.run(getpid)).get("pid"), stage.process.pid);
    }));

  it("run() names the step that failed, and the process goes on", () =>
    use(async (stage) => {
      const words = ["no/such", { ref: "zero" }];
      await assert.rejects(
        stage.run([
          { syscall: "umask", args: [0], store: "zero", why: "mask nothing" },
          // A reference in an array is an operation more.
          { syscall: "faccessat", args: [f.AT_FDCWD, words, 0], why: "look", onError: "ignore" },
          { syscall: "chdir", args: ["/no/such"], why: "enter a folder" },
          ...getpid,
        ]),
        { code: "not_found", message: "enter a folder: no such file or directory", details: { step: 2 } },
      );
      assert.equal((await stage.run(getpid)).get("pid"), stage.process.pid);
    }));

  it("has the given descriptors and no others, whatever their numbers are", async () => {
    const [one, two] = [pipe(kernel), pipe(kernel)];
    // Each source lies where another one is to go.
    const given = new Map<number, number | null>([[0, null], [one.read, two.write], [two.write, one.read]]);
    await use(async (stage) => {
      const { pid } = stage.process;
      const open = readdirSync(`/proc/${pid}/fd`).map(Number).sort((a, b) => a - b);
      assert.deepEqual(open, [0, one.read, two.write, init.control].sort((a, b) => a - b));
      const link = (fd: number, of: string | number = "self") => readlinkSync(`/proc/${of}/fd/${fd}`);
      assert.equal(link(one.read, pid), link(two.write));
      assert.equal(link(two.write, pid), link(one.read));
      assert.equal(link(0, pid), "/dev/null");
    }, given);
    for (const fd of [one.read, one.write, two.read, two.write]) kernel.call("close", fd);
  });

  it("has nothing of this process's memory", () =>
    use(async (stage) => {
      const maps = readFileSync(`/proc/${stage.process.pid}/maps`, "utf8").trim().split("\n");
      assert.ok(maps.length <= 8, maps.join("\n"));
      for (const line of maps) assert.match(line, /memfd:mayfly-init|\[(stack|vdso|vvar|vvar_vclock|vsyscall)\]| 0 *$/);
      assert.doesNotMatch(maps.join("\n"), /rwx/);
      assert.equal(readFileSync(`/proc/${stage.process.pid}/environ`, "utf8"), "");
    }));

  it("executes a file that nobody can change", () =>
    use(async (stage) => {
      const path = `/proc/${stage.process.pid}/exe`;
      const fd = kernel.call("openat", f.AT_FDCWD, path, f.O_RDONLY | f.O_CLOEXEC);
      const seals = kernel.call("fcntl", fd, f.F_GET_SEALS, 0);
      const all = f.F_SEAL_SEAL | f.F_SEAL_WRITE | f.F_SEAL_GROW | f.F_SEAL_SHRINK;
      assert.equal(seals & all, all);
      kernel.call("close", fd);
      assert.ok(kernel.attempt("openat", f.AT_FDCWD, path, f.O_RDWR | f.O_CLOEXEC) < 0);
    }));

  it("execute() resolves when something is executed", { skip: needsBusybox }, async () => {
    const { read, write } = pipe(kernel);
    const stage = stages.spawn(new Map([[0, null], [1, write], [2, null]]));
    kernel.call("close", write);
    const cloexec = { syscall: "fcntl", args: [init.control, f.F_SETFD, f.FD_CLOEXEC], why: "close on exec" } as const;
    const long = "x".repeat(100_000);
    const script = { syscall: "execve", args: [busybox, { hole: "argv" }, [0]], why: "execute" } as const;
    await assert.rejects(stage.execute([cloexec, { ...script, args: ["/no/such", [0], [0]] }]), {
      code: "not_found",
      details: { step: 1 },
    });
    const argv = ["sh", "-c", "ls /proc/self/fd; n=0; for x; do n=$((n+${#x})); done; echo $n", "sh"];
    await stage.execute([cloexec, script], { argv: [...argv, ...Array.from({ length: 15 }, () => long), 0] });
    const child = stage.release();
    await stage.abandon();
    const output = await new Response(kernel.host.readable(read)).text();
    assert.equal((await children.wait(child.pidfd)).code, 0);
    kernel.call("close", child.pidfd);
    assert.equal(output, "0\n1\n2\n3\n1500000\n");
  });

  it("refuses a program that is larger than the process's memory", () =>
    use(async (stage) => {
      const large = { syscall: "chdir", args: ["x".repeat(17_000_000)], why: "enter" } as const;
      await assert.rejects(stage.run([large]), { code: "resource_exhausted" });
      assert.equal((await stage.run(getpid)).get("pid"), stage.process.pid);
    }));

  it("follows into a child", () =>
    use(async (stage) => {
      const first = stage.process.pid;
      const pid = (await stage.run(fork)).get("pid");
      assert.notEqual(pid, first);
      assert.equal(stage.process.pid, pid);
      assert.equal((await stage.run(getpid)).get("pid"), pid);
    }));

  it("follows into a new pid namespace", { skip: needsRoot }, () =>
    use(async (stage) => {
      const unshare = { syscall: "unshare", args: [f.CLONE_NEWPID], why: "make a pid namespace" } as const;
      assert.equal((await stage.run([unshare, ...fork])).get("pid"), 1);
      const { pid } = stage.process;
      assert.match(readFileSync(`/proc/${pid}/status`, "utf8"), new RegExp(`^NSpid:\\s*${pid}\\s+1$`, "m"));
      assert.match(readFileSync(`/proc/${pid}/status`, "utf8"), new RegExp(`^PPid:\\s*${kernel.host.pid}$`, "m"));
    }));

  it("descriptor() receives one", () =>
    use(async (stage) => {
      const message = [0, 0, [announcement, 1], 1, [20, f.SOL_SOCKET + f.SCM_RIGHTS * 2 ** 32, { ref: "fd" }], 24, 0];
      const program: Program = [
        { syscall: "memfd_create", args: ["from-there", 1], store: "fd", why: "make a file" },
        { syscall: "sendmsg", args: [init.control, message, 0], why: "send it" },
      ];
      const fd = await stage.descriptor(program);
      assert.match(readlinkSync(`/proc/self/fd/${fd}`), /from-there/);
      assert.match(readFileSync(`/proc/self/fdinfo/${fd}`, "utf8"), /^flags:\s*02\d{6}$/m);
      kernel.call("close", fd);
      await assert.rejects(stage.descriptor([{ syscall: "close", args: [-1], why: "fail" }, ...program]), {
        errno: "EBADF",
      });
      assert.equal((await stage.run(getpid)).get("pid"), stage.process.pid);
    }));

  it("executeAnnounced() follows who announces itself, and tells what failed before and behind that", async () => {
    const unshare = { syscall: "unshare", args: [f.CLONE_NEWPID], why: "make a pid namespace" } as const;
    const exec = { syscall: "execve", args: [busybox, ["sh", "-c", "exit 7", 0], [0]], why: "execute" } as const;
    const fail = { syscall: "close", args: [-1], why: "fail" } as const;
    const hide = { syscall: "fcntl", args: [init.control, f.F_SETFD, f.FD_CLOEXEC], why: "close it then" } as const;
    const ignore = () => {};
    const stage = stages.spawn(nothing);
    const first = stage.process.pid;
    await stage.executeAnnounced([hide, unshare, ...fork, announce, exec], {}, ignore);
    const { pid, pidfd } = stage.release();
    assert.notEqual(pid, first);
    assert.equal((await children.wait(pidfd)).code, 7);
    kernel.call("close", pidfd);
    await stage.abandon();
    for (const program of [[fail, announce, exec], [announce, fail, exec]]) {
      await use(async (stage) => {
        await assert.rejects(stage.executeAnnounced(program, {}, ignore), { errno: "EBADF" });
        assert.equal((await stage.run(getpid)).get("pid"), stage.process.pid);
      });
    }
    await use((stage) => assert.rejects(stage.executeAnnounced(getpid, {}, ignore), { code: "internal" }));
  });

  it("runs a program again with other values", () =>
    use(async (stage) => {
      const program: Program = [
        { syscall: "openat", args: [f.AT_FDCWD, { hole: "path" }, f.O_RDONLY, 0], why: "open", store: "fd" },
      ];
      assert.ok((await stage.run(program, { path: "/" })).get("fd") >= 0);
      await assert.rejects(stage.run(program, { path: "/nothing-here" }), { errno: "ENOENT" });
      assert.ok((await stage.run(program, { path: "/proc" })).get("fd") >= 0);
    }));

  it("tells of a process that was killed, stopped, or takes too long", async () => {
    await use(async (stage) => {
      kernel.call("kill", stage.process.pid, f.SIGSTOP);
      const answer = stage.run(getpid);
      // It blocks nobody else meanwhile.
      await new Promise((resolve) => setTimeout(resolve, 1));
      kernel.call("kill", stage.process.pid, f.SIGCONT);
      assert.equal((await answer).get("pid"), stage.process.pid);
      kernel.call("kill", stage.process.pid, f.SIGSTOP);
      await assert.rejects(stage.run(getpid, {}, { timeoutMs: 30 }), { code: "deadline_exceeded" });
    });
    await use(async (stage) => {
      kernel.call("kill", stage.process.pid, f.SIGKILL);
      await assert.rejects(stage.run(getpid), { code: "aborted" });
      await assert.rejects(stage.execute(getpid).then(() => stage.run(getpid)), { code: "aborted" });
    });
  });

  it("ends when this process lets go of it", async () => {
    const stage = stages.spawn(nothing);
    const { pidfd } = stage.release();
    await stage.abandon();
    assert.deepEqual((await children.wait(pidfd)).code, 0);
    kernel.call("close", pidfd);
  });

  it("leaves nothing", async () => {
    const before = descriptors();
    for (let round = 0; round < 10; round++) await use(async (stage) => void await stage.run(fork));
    // Those before a fork are reaped in the background.
    for (let turn = 0; turn < 100 && descriptors() > before; turn++) await new Promise((go) => setTimeout(go, 5));
    assert.equal(descriptors(), before);
    assert.equal(kernel.attempt("waitid", f.P_ALL, 0, 0, f.WEXITED | f.WNOHANG, 0), -errno.ECHILD);
  });
});
