import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, describe, it } from "node:test";
import { erofs } from "../../snapshotters/erofs/mod.ts";
import { probe } from "../../snapshotters/erofs/probe.ts";
import { messageOf } from "../../src/core/errors.ts";
import { currentHost } from "../../src/host/mod.ts";
import { Kernel } from "../../src/linux/kernel.ts";
import { snapshotterContract } from "../contract/snapshotter.ts";
import { mounted } from "../images/mounted.ts";
import { describeTree } from "../images/tree.ts";
import { opener } from "./open.ts";

snapshotterContract("erofs", opener(erofs));

describe("erofs", () => {
  const folder = mkdtempSync(join(tmpdir(), "mayfly-erofs-"));
  let count = 0;
  after(() => rmSync(folder, { recursive: true }));

  const fresh = () => join(folder, String(count++));
  const mountsBelow = (path: string) =>
    readFileSync("/proc/mounts", "utf8").split("\n").filter((line) => line.split(" ")[1]?.startsWith(`${path}/`));

  it("probe() mounts a real image, and leaves nothing", async () => {
    const [root, run] = [fresh(), fresh()];
    assert.deepEqual(await probe({ host: await currentHost(), root, run }), { available: true });
    assert.deepEqual(readdirSync(join(root, "snapshots/erofs")), []);
    assert.deepEqual(readdirSync(run), []);
  });

  it("commit() keeps all that an overlay has written, and all that it hides", async () => {
    const kernel = new Kernel(await currentHost());
    await using opened = await opener(erofs).open(fresh());
    const { snapshotter } = opened;
    const python = `
import os, socket, sys
os.umask(0); os.chdir(sys.argv[1])
if sys.argv[2] == "low":
  os.makedirs("gone/deep"); os.makedirs("replaced/old"); open("removed", "w").write("x"); open("kept", "w").write("kept")
  os.setxattr("kept", "system.posix_acl_access", bytes.fromhex("0200000001000600ffffffff020004000700000004000400ffffffff10000600ffffffff20000400ffffffff"))
  os.mkdir("many")
  for i in range(3000): open("many/%05d-a-name-of-some-length" % i, "w").write(str(i))
else:
  os.remove("removed"); os.rmdir("gone/deep"); os.rmdir("gone"); os.rmdir("replaced/old"); os.rmdir("replaced"); os.mkdir("replaced")
  open("replaced/new", "w").write("new"); os.link("replaced/new", "same"); os.chmod("same", 0o4751); os.chown("same", 3000000, 4000000)
  os.chmod("same", 0o4751); os.rename("many/00007-a-name-of-some-length", "many/moved")
  os.symlink("t" * 300, "link"); os.symlink("t" * 4000, "longlink"); os.mkfifo("fifo"); os.mknod("disk", 0o60660, os.makedev(259, 300))
  socket.socket(socket.AF_UNIX).bind("socket"); os.setxattr("same", "user.note", b"n" * 3000); os.setxattr("replaced", "trusted.t", b"")
  os.setxattr("fifo", "security.x", b"1"); open("n" * 255, "w").write("long")
  f = open("holes", "w"); f.seek(50000000); f.write("end"); f.close(); os.truncate("holes", 60000001)
  os.utime("same", ns=(0, -1500000001)); os.utime("link", ns=(0, 123456789), follow_symlinks=False)
os.chmod(".", 0o751); os.utime(".", ns=(0, 77))
`;
    let wanted: string[] = [];
    for (const [key, parent] of [["low", undefined], ["high", "low"]] as const) {
      await mounted(await snapshotter.prepare(`active ${key}`, parent), (path) => {
        execFileSync("python3", ["-c", python, path, key]);
        wanted = describeTree(kernel, path);
      });
      await snapshotter.commit(key, `active ${key}`);
    }
    const bytes = (await snapshotter.usage("high")).bytes;
    assert.ok(bytes < 1 << 20, `${bytes}: holes are holes`);
    await mounted(await snapshotter.view("look", "high"), (path) => {
      const got = describeTree(kernel, path);
      assert.deepEqual(got, wanted);
    });
  });

  it("a layer is mounted once for all that stand on it, while something does", async () => {
    const root = fresh();
    {
      await using opened = await opener(erofs).open(root);
      const { snapshotter } = opened;
      for (const [key, parent] of [["a", undefined], ["b", "a"], ["c", "b"]] as const) {
        await snapshotter.prepare(`active ${key}`, parent);
        await snapshotter.commit(key, `active ${key}`);
      }
      await Promise.all(
        [1, 2, 3, 4].flatMap((i) => [snapshotter.prepare(`p${i}`, "c"), snapshotter.view(`v${i}`, "c")]),
      );
      assert.equal(mountsBelow(root).length, 3);
      for (const i of [1, 2, 3, 4]) for (const kind of ["p", "v"]) await snapshotter.remove(`${kind}${i}`);
      await snapshotter.remove("c");
      assert.equal(mountsBelow(root).length, 2);
      await snapshotter.view("held", "a");
      // The second finds what was not used since the first.
      for (const _ of [1, 2]) await snapshotter.cleanup();
      assert.equal(mountsBelow(root).length, 1);
    }
    assert.deepEqual(mountsBelow(root), []);
    assert.deepEqual(readdirSync(join(root, "run")), []);
  });

  it("what a process that was killed has left mounted is unmounted at the next start", async () => {
    const root = fresh();
    const [program, ...args] = await opener(erofs).churn(root);
    const child = spawn(program, args, { stdio: ["ignore", "pipe", "inherit"] });
    const ended = once(child, "exit");
    let lines = 0;
    for await (const _line of createInterface(child.stdout)) if (++lines === 20) child.kill("SIGKILL");
    await ended;
    assert.ok(mountsBelow(root).length > 0);
    await using _opened = await opener(erofs).open(root);
    assert.deepEqual(mountsBelow(root), []);
  });

  it("a layer whose file is gone is named", async () => {
    const root = fresh();
    await using opened = await opener(erofs).open(root);
    const { snapshotter, folder } = opened;
    await snapshotter.prepare("a");
    await snapshotter.commit("base", "a");
    const image = join(folder, String((await snapshotter.stat("base")).id), "image");
    assert.ok(statSync(image).size > 0);
    rmSync(image);
    await assert.rejects(snapshotter.view("v", "base"), (error) => {
      assert.ok(messageOf(error).includes(`cannot mount the layer ${JSON.stringify(image)}`), messageOf(error));
      return true;
    });
    assert.deepEqual((await snapshotter.walk()).map(({ key }) => key), ["base"]);
  });
});
