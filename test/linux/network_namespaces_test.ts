import assert from "node:assert/strict";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import process from "node:process";
import { after, describe, it } from "node:test";
import { currentHost } from "../../src/host/mod.ts";
import { Children } from "../../src/linux/children.ts";
import * as f from "../../src/linux/flags.ts";
import { Kernel } from "../../src/linux/kernel.ts";
import { NetworkNamespaces } from "../../src/linux/network_namespaces.ts";
import { Stages } from "../../src/linux/stages.ts";
import { until } from "../support/until.ts";

const kernel = new Kernel(await currentHost());
const children = new Children(kernel);
const stages = new Stages(kernel, children);

/** The processes that make namespaces for this one. A thread may have begun them that is not the first. */
function makers(): number[] {
  return readdirSync("/proc/self/task")
    .flatMap((thread) => readFileSync(`/proc/self/task/${thread}/children`, "utf8").split(" "))
    .filter((pid) => pid !== "" && readFileSync(`/proc/${pid}/comm`, "utf8") === "mayfly-net\n")
    .map(Number);
}

/** This process's sockets and namespaces. */
function held(): number {
  return readdirSync("/proc/self/fd").filter((fd) => {
    try {
      return /^(?:socket|net):/.test(readlinkSync(`/proc/self/fd/${fd}`));
    } catch {
      // The descriptor that read the folder.
      return false;
    }
  }).length;
}

/** Takes one, however long it takes to be made. */
async function take(networks: NetworkNamespaces): Promise<number> {
  let taken: number | undefined;
  await until(() => (taken = networks.take()) !== undefined);
  return taken ?? -1;
}

/** The flags of the loopback interface in a namespace. */
function loopbackFlags(descriptor: number): number {
  const request = new Uint8Array(40);
  request.set([0x6c, 0x6f]);
  const results = kernel.run([
    {
      syscall: "openat",
      args: [f.AT_FDCWD, "/proc/self/ns/net", f.O_RDONLY | f.O_CLOEXEC, 0],
      store: "own",
      why: "own",
    },
    { syscall: "setns", args: [descriptor, f.CLONE_NEWNET], why: "enter" },
    { syscall: "socket", args: [f.AF_INET, f.SOCK_DGRAM | f.SOCK_CLOEXEC, 0], store: "socket", why: "socket" },
    { syscall: "setns", args: [{ ref: "own" }, f.CLONE_NEWNET], why: "return" },
    {
      syscall: "ioctl",
      args: [{ ref: "socket" }, f.SIOCGIFFLAGS, { out: "flags", size: 40, initial: request }],
      why: "ask",
    },
    { syscall: "close", args: [{ ref: "socket" }], why: "close" },
    { syscall: "close", args: [{ ref: "own" }], why: "close" },
  ]);
  return results.int32("flags", 16) & 0xffff;
}

describe("NetworkNamespaces", () => {
  after(() => {
    stages[Symbol.dispose]();
    children.close();
  });

  it("take() starts no process for who asks but once", async () => {
    await using networks = new NetworkNamespaces(stages);
    assert.equal(networks.take(), undefined);
    assert.deepEqual(makers(), []);
  });

  it("take() gives each away once, with loopback up", async () => {
    const before = held();
    {
      await using networks = new NetworkNamespaces(stages);
      const own = readlinkSync("/proc/self/ns/net");
      const seen = new Set([own]);
      const taken: number[] = [];
      for (let n = 0; n < 40; n++) {
        const descriptor = await take(networks);
        taken.push(descriptor);
        seen.add(readlinkSync(`/proc/self/fd/${descriptor}`));
        assert.equal(loopbackFlags(descriptor) & f.IFF_UP, f.IFF_UP);
      }
      assert.equal(seen.size, 41);
      assert.equal(readlinkSync("/proc/self/ns/net"), own);
      for (const descriptor of taken) kernel.call("close", descriptor);
      assert.equal(makers().length, 1);
    }
    assert.deepEqual(makers(), []);
    assert.equal(held(), before);
  });

  it("take() has none when the process was killed, and leaves nothing of it", async () => {
    await using networks = new NetworkNamespaces(stages);
    kernel.call("close", await take(networks));
    const [maker] = makers();
    assert.ok(maker !== undefined);
    process.kill(maker, "SIGKILL");
    // Those that are on their way are still given.
    await until(() => {
      const descriptor = networks.take();
      if (descriptor !== undefined) kernel.call("close", descriptor);
      return descriptor === undefined && makers().length === 0;
    });
    assert.equal(networks.take(), undefined);
  });
});
