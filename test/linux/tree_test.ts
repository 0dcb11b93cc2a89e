import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { codeOf } from "../../src/core/errors.ts";
import { currentHost } from "../../src/host/mod.ts";
import { TreeCopy } from "../../src/linux/copy_tree.ts";
import { errno } from "../../src/linux/errno.ts";
import { Files } from "../../src/linux/files.ts";
import { Kernel } from "../../src/linux/kernel.ts";
import { removeTree } from "../../src/linux/remove_tree.ts";
import { treeUsage } from "../../src/linux/tree_usage.ts";
import { describeTree } from "../images/tree.ts";

const make = `
import os, sys
os.umask(0); os.chdir(sys.argv[1])
os.makedirs("a/b"); os.chmod("a", 0o2711); os.mkdir("a/c"); os.chmod("a/c", 0o1777)
open("a/f", "w").write("hello"); os.chown("a/f", 12, 34); os.chmod("a/f", 0o4755)
os.link("a/f", "a/b/same"); os.symlink("nowhere", "l"); os.chown("l", 5, 6, follow_symlinks=False)
os.mknod("null", 0o20666, os.makedev(1, 3)); os.mkfifo("p", 0o640); os.mknod("s", 0o140600)
os.setxattr("a/f", "user.note", b"\\0\\xff"); os.setxattr("a", "trusted.overlay.opaque", b"y")
with open("sparse", "w") as f: f.truncate(10 << 20); f.seek(5 << 20); f.write("middle")
open(b"a/\\xff\\xfe", "w").write("no utf-8")
for i, name in enumerate(["a/f", "l", "null", "p", "a/b", "a/c", "a"]):
    os.utime(name, ns=(1, i * 10**9 + 123456789 - 10**10), follow_symlinks=False)
`;

describe("trees of files", () => {
  const folder = mkdtempSync(join(tmpdir(), "mayfly-tree-"));
  let kernel: Kernel;

  before(async () => {
    kernel = new Kernel(await currentHost());
    mkdirSync(join(folder, "from"));
    mkdirSync(join(folder, "to"));
    execFileSync("python3", ["-c", make, join(folder, "from")]);
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  it("TreeCopy copies all that belongs to files", async () => {
    using copy = new TreeCopy(kernel);
    await copy.folder(join(folder, "from"), join(folder, "to"));
    // Deno reads names that are no UTF-8 wrongly, so that file is looked at from outside.
    const odd = (where: string) =>
      execFileSync("python3", ["-c", "import sys; print(open(sys.argv[1].encode() + b'/a/\\xff\\xfe').read())", where]);
    assert.deepEqual(odd(join(folder, "to")), odd(join(folder, "from")));
    for (const where of ["from", "to"]) execFileSync("sh", ["-c", `rm ${join(folder, where)}/a/??`]);
    execFileSync("touch", ["-d", "2020-01-01", join(folder, "from/a"), join(folder, "to/a")]);
    assert.deepEqual(describeTree(kernel, join(folder, "to")), describeTree(kernel, join(folder, "from")));
    const used = execFileSync("du", ["-s", "--block-size=1", join(folder, "to")], { encoding: "utf8" });
    const usage = await treeUsage(kernel, join(folder, "to"));
    assert.equal(usage.bytes, parseInt(used));
    assert.equal(usage.inodes, 10);
    assert.ok(usage.bytes < 1 << 20, "holes stay holes");
  });

  it("TreeCopy refuses a folder that is not empty", async () => {
    using copy = new TreeCopy(kernel);
    await assert.rejects(
      copy.folder(join(folder, "from"), join(folder, "to")),
      (error) => codeOf(error) === "already_exists",
    );
  });

  it("removeTree() removes any names and any depth, and follows no link", async () => {
    const target = join(folder, "deep");
    execFileSync("sh", [
      "-c",
      `mkdir ${target} && cd ${target} && ln -s ${folder}/from link && for i in $(seq 300); do mkdir d && cd d && touch f; done`,
    ]);
    execFileSync("python3", ["-c", "import os,sys; open(sys.argv[1].encode() + b'/\\xff', 'w')", target]);
    await removeTree(kernel, target);
    assert.equal(existsSync(target), false);
    assert.equal(readFileSync(join(folder, "from/a/f"), "utf8"), "hello");
    await removeTree(kernel, target);
    await removeTree(kernel, join(folder, "nowhere/at/all"));
  });

  it("Files.chmod() follows no link, by either of its calls", async () => {
    const where = join(folder, "modes");
    execFileSync("sh", [
      "-c",
      `mkdir ${where} && cd ${where} && touch victim && chmod 600 victim && ln -s victim link && mkfifo p`,
    ]);
    const newest = new Kernel(await currentHost());
    const older = new Kernel(await currentHost());
    const attempt = older.attempt.bind(older);
    older.attempt = (name, ...args) => name === "fchmodat2" ? -errno.ENOSYS : attempt(name, ...args);
    for (const [one, mode] of [[newest, 0o640], [older, 0o4750]] as const) {
      using files = new Files(one);
      const fd = files.openFolder(where);
      files.chmod(fd, "p", mode);
      assert.equal(statSync(join(where, "p")).mode & 0o7777, mode);
      assert.throws(() => files.chmod(fd, "link", 0o777));
      files.close(fd);
    }
    assert.equal(statSync(join(where, "victim")).mode & 0o7777, 0o600);
  });

  it("Files.openRegular() opens nothing else", () => {
    const where = join(folder, "kinds");
    execFileSync("sh", [
      "-c",
      `mkdir ${where} && cd ${where} && echo x >f && ln -s f l && mkfifo p && mknod n c 1 3 && mkdir d`,
    ]);
    using files = new Files(kernel);
    const fd = files.openFolder(where);
    for (const name of ["l", "p", "n", "d", "missing"]) assert.equal(files.openRegular(fd, name), undefined, name);
    const file = files.openRegular(fd, "f") ?? assert.fail("not opened");
    assert.equal(new TextDecoder().decode(files.read(file, 10)), "x\n");
    files.close(file);
    files.close(fd);
  });

  it("removeTree() names what is mounted below", async () => {
    const target = join(folder, "mounted");
    mkdirSync(join(target, "mnt"), { recursive: true });
    execFileSync("mount", ["-t", "tmpfs", "none", join(target, "mnt")]);
    try {
      await assert.rejects(removeTree(kernel, target), (error) => {
        assert.equal(codeOf(error), "failed_precondition");
        assert.match(String(error), /"mnt".*mounted/);
        return true;
      });
    } finally {
      execFileSync("umount", [join(target, "mnt")]);
    }
    await removeTree(kernel, target);
  });
});
