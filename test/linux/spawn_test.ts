import assert from "node:assert/strict";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync } from "node:fs";
import { describe, it } from "node:test";
import { Failure } from "../../src/core/errors.ts";
import { currentHost } from "../../src/host/mod.ts";
import { errno } from "../../src/linux/errno.ts";
import { kernelRead } from "../../src/linux/kernel_read.ts";
import {
  AT_FDCWD,
  CLONE_NEWPID,
  CLONE_NEWUTS,
  O_CLOEXEC,
  O_DIRECTORY,
  P_ALL,
  SIG_BLOCK,
  SIG_SETMASK,
  SIGKILL,
  WEXITED,
  WNOHANG,
} from "../../src/linux/flags.ts";
import { Kernel } from "../../src/linux/kernel.ts";
import type { Program } from "../../src/linux/program.ts";
import { busybox, execute, outputOf, reap } from "./child.ts";

const kernel = new Kernel(await currentHost());
const isRoot = kernel.call("geteuid") === 0;
const needsBusybox = existsSync(busybox) ? false : `there is no ${busybox}`;
const needsRoot = needsBusybox || (isRoot ? false : "only root makes namespaces");
const descriptors = () => readdirSync("/proc/self/fd").length;
const field = (status: string, name: string) => new RegExp(`^${name}:\\s*(.*)$`, "m").exec(status)?.[1];

describe("Kernel.spawn()", { skip: needsBusybox }, () => {
  it("runs a program that ends in execve", () => {
    const child = kernel.spawn([execute("true")]);
    assert(child.pid > 0 && child.pidfd > 2);
    assert.equal(reap(kernel, child), 0);
    assert.equal(reap(kernel, kernel.spawn([execute("sh", "-c", "exit 3")])), 3);
    assert.equal(reap(kernel, kernel.spawn([execute("sh", "-c", "kill -9 $$")])), -9);
  });

  it("passes arguments, environment and folder", () => {
    const program: Program = [
      { syscall: "chdir", args: ["/proc"], why: "enter /proc" },
      {
        syscall: "execve",
        args: [busybox, ["sh", "-c", 'echo "$0 $1 $NAME $(pwd)"', "a b", "ü", 0], ["NAME=x=y", 0]],
        why: "execute",
      },
    ];
    assert.equal(outputOf(kernel, program), "a b ü x=y /proc\n");
  });

  it("is the child's end where the program does not execute", () => {
    assert.equal(reap(kernel, kernel.spawn([{ syscall: "getpid", args: [], why: "ask" }])), 0);
    assert.equal(reap(kernel, kernel.spawn([{ syscall: "exit_group", args: [7], why: "end" }])), 7);
  });

  it("names the step that failed and leaves nothing", () => {
    const before = descriptors();
    const program: Program = [
      { syscall: "chdir", args: ["/"], why: 'enter "/"' },
      { syscall: "execve", args: ["/no/such", [0], [0]], why: 'execute "/no/such"' },
    ];
    for (let round = 0; round < 20; round++) {
      assert.throws(() => kernel.spawn(program), (error) => {
        assert(error instanceof Failure);
        assert.equal(error.message, 'execute "/no/such": no such file or directory');
        assert.deepEqual([error.code, error.syscall, error.errno], ["not_found", "execve", "ENOENT"]);
        assert.deepEqual(error.details, { step: 1 });
        return true;
      });
    }
    assert.equal(descriptors(), before);
    assert.equal(kernel.attempt("waitid", P_ALL, 0, 0, WEXITED | WNOHANG, 0), -errno.ECHILD);
  });

  it("names the step at which the child was killed", () => {
    const program: Program = [
      { syscall: "getpid", args: [], store: "pid", why: "ask" },
      { syscall: "kill", args: [{ ref: "pid" }, SIGKILL], why: "kill itself" },
      execute("true"),
    ];
    assert.throws(() => kernel.spawn(program), {
      code: "aborted",
      message: "kill itself: the child was killed",
      details: { step: 1 },
    });
    assert.equal(kernel.attempt("waitid", P_ALL, 0, 0, WEXITED | WNOHANG, 0), -errno.ECHILD);
  });

  it("says when no child can be made", () => {
    assert.throws(() => kernel.spawn([execute("true")], { cgroupFd: 9999 }), { syscall: "clone3", errno: "EBADF" });
  });

  it("gives the child no blocked signals and every default", () => {
    const blocked = new Uint8Array(8).fill(0xff);
    const saved = kernel.buffer(8);
    kernel.call("rt_sigprocmask", SIG_BLOCK, blocked, saved.address, 8);
    const stop = kernel.host.onSignal("SIGUSR2", () => {});
    try {
      const status = outputOf(kernel, [execute("cat", "/proc/self/status")]);
      for (const name of ["SigPnd", "ShdPnd", "SigBlk", "SigIgn", "SigCgt"]) {
        assert.equal(field(status, name), "0000000000000000", name);
      }
    } finally {
      stop();
      kernel.call("rt_sigprocmask", SIG_SETMASK, saved.address, 0, 8);
    }
  });

  it("leaves this thread's signal mask as it was", () => {
    const mask = () => field(kernelRead(kernel, "/proc/thread-self/status"), "SigBlk");
    const before = mask();
    reap(kernel, kernel.spawn([execute("true")]));
    assert.throws(() => kernel.spawn([{ syscall: "close", args: [-1], why: "fail" }]));
    assert.equal(mask(), before);
  });

  it("does not give the child's folder, limits or descriptors to this process", () => {
    const [before, folder] = [descriptors(), readFileSync("/proc/self/mountinfo", "utf8")];
    const child = kernel.spawn([
      { syscall: "chdir", args: ["/proc"], why: "enter /proc" },
      { syscall: "close_range", args: [0, 0xffff_ffff, 0], why: "close everything" },
      { syscall: "umask", args: [0o777], why: "mask everything" },
      execute("true"),
    ]);
    assert.equal(reap(kernel, child), 0);
    assert.equal(descriptors(), before);
    assert.equal(readFileSync("/proc/self/mountinfo", "utf8"), folder);
    assert.notEqual(kernelRead(kernel, "/proc/self/status").includes("Umask:\t0777"), true);
  });

  it("closes the pidfd on execve", () => {
    const child = kernel.spawn([execute("true")]);
    assert.match(readFileSync(`/proc/self/fdinfo/${child.pidfd}`, "utf8"), /^flags:\s*02000002$/m);
    reap(kernel, child);
  });

  it("makes namespaces", { skip: needsRoot }, () => {
    const program: Program = [
      { syscall: "sethostname", args: ["inside", 6], why: "name the host" },
      execute("sh", "-c", "echo $$ $(hostname)"),
    ];
    assert.equal(outputOf(kernel, program, { flags: CLONE_NEWPID | CLONE_NEWUTS }), "1 inside\n");
  });

  it("begins in a cgroup", { skip: needsRoot || (cgroup2() === undefined ? "there is no cgroup v2" : false) }, () => {
    const name = `mayfly-test-${kernel.host.pid}`;
    const folder = `${cgroup2()}/${name}`;
    mkdirSync(folder);
    const cgroupFd = kernel.call("openat", AT_FDCWD, folder, O_DIRECTORY | O_CLOEXEC);
    try {
      assert.match(outputOf(kernel, [execute("cat", "/proc/self/cgroup")], { cgroupFd }), new RegExp(`/${name}$`, "m"));
    } finally {
      kernel.call("close", cgroupFd);
      rmdirSync(folder);
    }
  });

  it("runs a template", () => {
    const plan = kernel.compile([{ ...execute(), args: [busybox, { hole: "argv" }, [0]] }]);
    for (const code of [0, 1, 77]) {
      const child = kernel.spawn(plan.fill({ argv: ["sh", "-c", `exit ${code}`, 0] }));
      assert.equal(reap(kernel, child), code);
    }
    plan.release();
  });

  it("goes back to running programs in this thread", () => {
    reap(kernel, kernel.spawn([execute("true")]));
    assert.equal(kernel.run([{ syscall: "getpid", args: [], why: "ask" }]).last, kernel.host.pid);
  });
});

/** Where cgroup v2 is mounted, if it is. */
function cgroup2(): string | undefined {
  return ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].find((path) => existsSync(`${path}/cgroup.procs`));
}
