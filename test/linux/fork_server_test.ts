import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { after, describe, it } from "node:test";
import { currentHost } from "../../src/host/mod.ts";
import { Children } from "../../src/linux/children.ts";
import { errno } from "../../src/linux/errno.ts";
import * as f from "../../src/linux/flags.ts";
import { forkedDescriptors, ForkServer } from "../../src/linux/fork_server.ts";
import { Kernel } from "../../src/linux/kernel.ts";
import { pipe } from "../../src/linux/pipe.ts";
import type { Program } from "../../src/linux/program.ts";
import type { Stage } from "../../src/linux/stage.ts";
import { keepDescriptors, Stages } from "../../src/linux/stages.ts";
import { init } from "../../src/linux/stub/layout.ts";
import { until } from "../support/until.ts";
import { busybox } from "./child.ts";

const kernel = new Kernel(await currentHost());
const children = new Children(kernel);
const stages = new Stages(kernel, children);
const needsRoot = kernel.call("geteuid") === 0 ? false : "only root makes namespaces";
const needsBusybox = existsSync(busybox) ? false : `there is no ${busybox}`;
const nothing = new Map([[0, null], [1, null], [2, null]]);
const descriptors = () => readdirSync("/proc/self/fd").length;

const getpid: Program = [{ syscall: "getpid", args: [], store: "pid", why: "ask" }];
const inNamespace: Program = [
  { syscall: "unshare", args: [f.CLONE_NEWPID], why: "make a pid namespace" },
  { syscall: "clone", args: [f.CLONE_PARENT | f.SIGCHLD, 0, 0, 0, 0], why: "enter it", onZero: { goto: "child" } },
  { syscall: "exit_group", args: [0], why: "end" },
  { syscall: "getpid", args: [], why: "go on", label: "child" },
];

/** The processes of this one that wait to make others. */
function servers(): readonly number[] {
  const tasks = `/proc/${kernel.host.pid}/task`;
  const own = readdirSync(tasks).flatMap((id) => readFileSync(`${tasks}/${id}/children`, "utf8").trim().split(" "));
  return own.map(Number).filter((pid) => nameOf(pid) === "mayfly-exec" && !isZombie(pid));
}

function nameOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, "utf8").trim();
  } catch {
    return "";
  }
}

describe("ForkServer", { skip: needsRoot }, () => {
  after(() => {
    stages[Symbol.dispose]();
    children.close();
  });

  /** With the first process of a pid namespace. */
  async function beside(body: (forks: ForkServer, first: Stage) => Promise<void>): Promise<void> {
    const first = stages.spawn(nothing);
    try {
      await first.run(inNamespace);
      await using forks = new ForkServer(stages);
      await body(forks, first);
    } finally {
      await first.abandon();
    }
  }

  it("makes children of this process in the pid namespace of another", () =>
    beside(async (forks, first) => {
      const pids: number[] = [];
      for (const inside of [2, 3, 4]) {
        const stage = forks.fork(first.process.pidfd, []);
        assert.equal((await stage.run(getpid)).get("pid"), inside);
        const { pid } = stage.process;
        const status = readFileSync(`/proc/${pid}/status`, "utf8");
        assert.match(status, new RegExp(`^PPid:\\s*${kernel.host.pid}$`, "m"));
        assert.match(status, new RegExp(`^NSpid:\\s*${pid}\\s+${inside}$`, "m"));
        pids.push(pid);
        await stage.abandon();
      }
      assert.ok(pids.every((pid) => !existsSync(`/proc/${pid}`)));
      const [server] = servers();
      assert.ok(server !== undefined);
      const own = (name: string) => readlinkSync(`/proc/${server}/ns/${name}`);
      assert.equal(own("pid_for_children"), own("pid"));
      assert.deepEqual(readdirSync(`/proc/${server}/fd`).map(Number).filter((fd) => fd > 2 && fd < init.control), []);
    }));

  it(
    "gives them what is passed, and nothing else that anybody has",
    { skip: needsBusybox },
    () =>
      beside(async (forks, first) => {
        const { read, write } = pipe(kernel);
        const place = keepDescriptors(new Map([[0, null], [1, forkedDescriptors.first], [2, null]]));
        const program: Program = [
          { syscall: "fcntl", args: [init.control, f.F_SETFD, f.FD_CLOEXEC], why: "close it then" },
          ...place,
          { syscall: "execve", args: [busybox, { hole: "argv" }, [0]], why: "execute" },
        ];
        const stage = forks.fork(first.process.pidfd, [write]);
        await stage.execute(program, { argv: ["ls", "/proc/self/fd", 0] });
        const { pidfd } = stage.release();
        await stage.abandon();
        kernel.call("close", write);
        assert.equal(await new Response(kernel.host.readable(read)).text(), "0\n1\n2\n3\n");
        assert.equal((await children.wait(pidfd)).code, 0);
        kernel.call("close", pidfd);
      }),
  );

  it("takes programs of any size before the process is there, many at once", () =>
    beside(async (forks, first) => {
      const runs = Array.from({ length: 8 }, async (_, index) => {
        const stage = forks.fork(first.process.pidfd, []);
        try {
          const path = "x".repeat(1_000_000 + index);
          const looks = [{
            syscall: "faccessat",
            args: [0, path, 0],
            store: "got",
            why: "look",
            onError: "ignore",
          }] as const;
          assert.equal((await stage.run(looks)).get("got"), -errno.ENAMETOOLONG);
          return (await stage.run(getpid)).get("pid");
        } finally {
          await stage.abandon();
        }
      });
      assert.equal(new Set(await Promise.all(runs)).size, 8);
    }));

  it("tells why there is no process, and makes others all the same", () =>
    beside(async (forks, first) => {
      const gone = stages.spawn(nothing);
      await gone.run(inNamespace);
      const pidfd = kernel.call("fcntl", gone.process.pidfd, f.F_DUPFD_CLOEXEC, 3);
      await gone.abandon();
      const [lost, made] = [forks.fork(pidfd, []), forks.fork(first.process.pidfd, [])];
      await assert.rejects(lost.run(getpid), { errno: "ESRCH", message: /enter the container's pid namespace/ });
      assert.equal((await made.run(getpid)).get("pid"), 2);
      await Promise.all([lost.abandon(), made.abandon()]);
      kernel.call("close", pidfd);
    }));

  it("is made anew where somebody has killed it", () =>
    beside(async (forks, first) => {
      for (let round = 0; round < 2; round++) {
        const stage = forks.fork(first.process.pidfd, []);
        await stage.run(getpid);
        await stage.abandon();
        const [server, ...others] = servers();
        assert.ok(server !== undefined);
        assert.deepEqual(others, []);
        kernel.call("kill", server, f.SIGKILL);
        await until(() => isZombie(server));
      }
    }));

  it("leaves nothing", async () => {
    const round = () =>
      beside(async (forks, first) => {
        const [asked, unasked] = [forks.fork(first.process.pidfd, []), forks.fork(first.process.pidfd, [0, 1, 2])];
        await asked.run(getpid);
        await Promise.all([asked.abandon(), unasked.abandon()]);
      });
    await round();
    const before = descriptors();
    for (let each = 0; each < 5; each++) await round();
    for (let turn = 0; turn < 100 && descriptors() > before; turn++) await new Promise((go) => setTimeout(go, 5));
    assert.equal(descriptors(), before);
    assert.equal(kernel.attempt("waitid", f.P_ALL, 0, 0, f.WEXITED | f.WNOHANG, 0), -errno.ECHILD);
  });
});

function isZombie(pid: number): boolean {
  try {
    return / Z /.test(readFileSync(`/proc/${pid}/stat`, "utf8").replace(/^.*\)/, ""));
  } catch {
    return true;
  }
}
