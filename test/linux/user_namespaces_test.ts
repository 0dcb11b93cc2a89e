import assert from "node:assert/strict";
import { readdirSync, readlinkSync } from "node:fs";
import { after, describe, it } from "node:test";
import { currentHost } from "../../src/host/mod.ts";
import { Children } from "../../src/linux/children.ts";
import { Kernel } from "../../src/linux/kernel.ts";
import { Stages } from "../../src/linux/stages.ts";
import { UserNamespaces } from "../../src/linux/user_namespaces.ts";

const kernel = new Kernel(await currentHost());
const children = new Children(kernel);
const stages = new Stages(kernel, children);
const skip = kernel.call("geteuid") === 0 ? false : "only root maps ids of others";

/** What a descriptor is of: `user:[inode]`. */
const what = (fd: number) => readlinkSync(`/proc/self/fd/${fd}`);

/** All user namespaces that this process has open. */
function opened(): string[] {
  return readdirSync("/proc/self/fd").flatMap((fd) => {
    try {
      return [readlinkSync(`/proc/self/fd/${fd}`)];
    } catch {
      // The one that the folder was read by.
      return [];
    }
  }).filter((name) => name.startsWith("user:")).sort();
}

/** Descriptors are closed behind what lets go of them. */
const closed = () => new Promise((resolve) => setImmediate(resolve));

describe("UserNamespaces", { skip }, () => {
  after(() => {
    stages[Symbol.dispose]();
    children.close();
  });

  const unmapped = () => {};

  it("hold() gives those who ask for one mapping at the same time one namespace", async () => {
    using users = new UserNamespaces(stages);
    const held = await Promise.all(["a", "a", "b"].map((key) => users.hold(key, unmapped)));
    const [one, same, other] = held.map(({ fd }) => what(fd));
    assert.equal(one, same);
    assert.notEqual(one, other);
    assert.equal(opened().length, 2);
    for (const each of held) each[Symbol.dispose]();
  });

  it("keeps so many that nobody holds: those that were used last", async () => {
    using users = new UserNamespaces(stages, 2);
    const use = async (key: string) => {
      using held = await users.hold(key, unmapped);
      return what(held.fd);
    };
    const [a, b] = [await use("a"), await use("b")];
    assert.equal(await use("a"), a);
    const c = await use("c");
    await closed();
    assert.deepEqual(opened(), [a, c].sort());
    assert.notEqual(await use("b"), b);
  });

  it("closes none that is held", async () => {
    using users = new UserNamespaces(stages, 1);
    const [a, b] = [await users.hold("a", unmapped), await users.hold("b", unmapped)];
    b[Symbol.dispose]();
    await closed();
    assert.deepEqual(opened(), [what(a.fd)]);
    a[Symbol.dispose]();
    assert.equal(opened().length, 1);
  });

  it("forgets one that could not be made, and has none in the end", async () => {
    {
      using users = new UserNamespaces(stages);
      await assert.rejects(
        users.hold("a", () => {
          throw new Error("not mapped");
        }),
        /not mapped/,
      );
      using held = await users.hold("a", unmapped);
      assert.match(what(held.fd), /^user:/);
    }
    await closed();
    assert.deepEqual(opened(), []);
  });
});
