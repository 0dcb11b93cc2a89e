import assert from "node:assert/strict";
import { existsSync, readdirSync } from "node:fs";
import { after, describe, it } from "node:test";
import { currentHost } from "../../src/host/mod.ts";
import { Children } from "../../src/linux/children.ts";
import { errno } from "../../src/linux/errno.ts";
import { kernelRead } from "../../src/linux/kernel_read.ts";
import { P_ALL, SIGKILL, SIGTERM, WEXITED, WNOHANG } from "../../src/linux/flags.ts";
import { Kernel } from "../../src/linux/kernel.ts";
import { busybox, execute } from "./child.ts";

const kernel = new Kernel(await currentHost());
const descriptors = () => readdirSync("/proc/self/fd").length;

describe("Children", { skip: existsSync(busybox) ? false : `there is no ${busybox}` }, () => {
  const children = new Children(kernel);
  after(() => children.close());

  const end = async (...words: string[]) => {
    const { pidfd } = kernel.spawn([execute(...words)]);
    try {
      return await children.wait(pidfd);
    } finally {
      kernel.call("close", pidfd);
    }
  };

  it("wait() tells the exit status", async () => {
    const exit = await end("sh", "-c", "exit 42");
    assert.equal(exit.code, 42);
    assert.equal(exit.signal, undefined);
  });

  it("wait() tells the signal", async () => {
    const { pidfd } = kernel.spawn([execute("sleep", "60")]);
    const exit = children.wait(pidfd);
    assert.equal(children.wait(pidfd), exit);
    kernel.call("pidfd_send_signal", pidfd, SIGTERM, 0, 0);
    assert.deepEqual([(await exit).code, (await exit).signal], [128 + SIGTERM, SIGTERM]);
    kernel.call("close", pidfd);
  });

  it("wait() tells the time used", async () => {
    const { usage } = await end("sh", "-c", "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done");
    assert(usage.userMicros > 10_000, `${usage.userMicros} µs`);
    assert(usage.systemMicros >= 0);
  });

  it("wait() sees a child that has ended before", async () => {
    const { pid, pidfd } = kernel.spawn([execute("true")]);
    while (!isZombie(pid)) await new Promise((r) => setTimeout(r, 1));
    assert.equal((await children.wait(pidfd)).code, 0);
    kernel.call("close", pidfd);
  });

  it("wait() tells 200 children apart and leaves nothing", async () => {
    const before = descriptors();
    const exits = await Promise.all(Array.from({ length: 200 }, async (_, i) => {
      const exit = await end("sh", "-c", i % 2 === 0 ? `exit ${i}` : "kill -KILL $$");
      return i % 2 === 0 ? exit.code === i : exit.signal === SIGKILL;
    }));
    assert.deepEqual(exits, Array(200).fill(true));
    assert.equal(descriptors(), before);
    assert.equal(kernel.attempt("waitid", P_ALL, 0, 0, WEXITED | WNOHANG, 0), -errno.ECHILD);
  });

  it("wait() refuses what is no child", async () => {
    const pidfd = kernel.call("pidfd_open", 1, 0);
    await assert.rejects(children.wait(pidfd), { code: "failed_precondition", errno: "ECHILD" });
    kernel.call("close", pidfd);
    await assert.rejects(children.wait(9999), { code: "failed_precondition", errno: "EBADF" });
  });

  it("close() ends waiting", async () => {
    const others = new Children(kernel);
    const { pidfd } = kernel.spawn([execute("sleep", "60")]);
    const exit = others.wait(pidfd);
    others.close();
    await assert.rejects(exit, { code: "unavailable" });
    await assert.rejects(others.wait(pidfd), { code: "unavailable" });
    kernel.call("pidfd_send_signal", pidfd, SIGKILL, 0, 0);
    assert.equal((await children.wait(pidfd)).signal, SIGKILL);
    kernel.call("close", pidfd);
  });
});

function isZombie(pid: number): boolean {
  return kernelRead(kernel, `/proc/${pid}/stat`).includes(") Z ");
}
