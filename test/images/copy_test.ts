import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { gzipSync } from "node:zlib";
import { codeOf, type ErrorCode } from "../../src/core/errors.ts";
import { currentHost } from "../../src/host/mod.ts";
import { copyIn, type CopyInOptions } from "../../src/images/copy_in.ts";
import { copyOut, describeFile } from "../../src/images/copy_out.ts";
import { AT_FDCWD, O_CLOEXEC, O_PATH } from "../../src/linux/flags.ts";
import { Kernel } from "../../src/linux/kernel.ts";
import { openFiles } from "../support/descriptors.ts";
import { tarOf } from "./tar_bytes.ts";
import { describeTree } from "./tree.ts";

const make = `
import os, sys
os.umask(0); os.chdir(sys.argv[1])
os.makedirs("a/b"); os.chmod("a", 0o2711); os.mkdir("a/empty"); os.chmod("a/empty", 0o1777)
open("a/f", "w").write("hello"); os.chown("a/f", 12, 34); os.chmod("a/f", 0o4755)
os.link("a/f", "a/b/same"); os.symlink("nowhere", "a/l"); os.mknod("a/null", 0o20666, os.makedev(1, 3))
os.mkfifo("a/p", 0o640); os.mknod("a/socket", 0o140600); os.setxattr("a/f", "user.note", b"\\0\\xff")
open("a/" + "n" * 150, "w").write("long"); open("a/\\u00fc", "wb").write(bytes(range(256)) * 3000)
os.mkdir("etc"); open("etc/passwd", "w").write("inside")
os.symlink("/etc", "to-etc"); os.symlink("../../../../../../etc", "up"); os.symlink("a", "to-a")
os.symlink("/proc/self/root", "magic"); os.symlink("loop", "loop"); os.mkdir("in")
for i, name in enumerate(["a/f", "a/l", "a/null", "a/p", "a/b", "a/empty", "a"]):
    os.utime(name, ns=(1, i * 10**9 + 123456789), follow_symlinks=False)
`;

describe("copying in and out", () => {
  const folder = mkdtempSync(join(tmpdir(), "mayfly-copy-"));
  const rootPath = join(folder, "root");
  let kernel: Kernel;
  let root = -1;
  let count = 0;

  before(async () => {
    kernel = new Kernel(await currentHost());
    mkdirSync(rootPath);
    execFileSync("python3", ["-c", make, rootPath]);
    root = kernel.call("openat", AT_FDCWD, rootPath, O_PATH | O_CLOEXEC, 0);
  });
  after(() => {
    kernel.attempt("close", root);
    rmSync(folder, { recursive: true, force: true });
  });

  const fresh = (inside = false) => {
    const path = join(inside ? join(rootPath, "in") : folder, `${count++}`);
    mkdirSync(path);
    return path;
  };
  const out = async (path: string) => {
    const chunks: Uint8Array[] = [];
    for await (const chunk of await copyOut(kernel, root, path)) chunks.push(chunk);
    return Buffer.concat(chunks);
  };
  const list = async (path: string) =>
    execFileSync("tar", ["-t"], { input: await out(path), encoding: "utf8" }).trim().split("\n");
  const put = async (path: string, archive: Uint8Array, options?: CopyInOptions) => {
    async function* pieces() {
      for (let at = 0; at < archive.length; at += 1000) yield archive.subarray(at, at + 1000);
    }
    await copyIn(kernel, root, path, pieces(), options);
  };
  const rejects = (promise: Promise<unknown>, code: ErrorCode) =>
    assert.rejects(promise, (error) => {
      assert.equal(codeOf(error), code, String(error));
      return true;
    });

  describe("copyOut()", () => {
    it("writes an archive from which tar makes the same tree, sockets left out", async () => {
      const where = fresh();
      execFileSync("tar", ["-x", "--xattrs", "--xattrs-include=*", "--same-owner", "-p", "-C", where], {
        input: await out("/a"),
      });
      assert.deepEqual(readdirSync(where), ["a"]);
      const wanted = describeTree(kernel, join(rootPath, "a")).filter((line) => !line.startsWith("socket "));
      assert.deepEqual(describeTree(kernel, join(where, "a")), wanted);
    });

    it("calls the top by the last part of the path", async () => {
      const cases: readonly [string, string[]][] = [
        ["etc", ["etc/", "etc/passwd"]],
        ["/etc/", ["etc/", "etc/passwd"]],
        ["/etc/.", ["./", "passwd"]],
        ["/etc/passwd", ["passwd"]],
        ["/a/../etc/passwd", ["passwd"]],
        ["../../etc", ["etc/", "etc/passwd"]],
        ["/to-etc", ["to-etc"]],
        ["/to-etc/", ["to-etc/", "to-etc/passwd"]],
        ["/up/passwd", ["passwd"]],
      ];
      for (const [path, names] of cases) assert.deepEqual(await list(path), names, path);
      assert.deepEqual((await list("/")).filter((name) => name.startsWith("etc")), ["etc/", "etc/passwd"]);
    });

    it("never follows a link out of the root", async () => {
      for (const path of ["/up/passwd", "/to-etc/passwd"]) {
        assert.ok((await out(path)).includes("inside"), path);
      }
      await rejects(out("/magic/etc/passwd"), "not_found");
      await rejects(out("/loop/x"), "invalid_argument");
    });

    it("refuses what is not there, or no path, before the first byte", async () => {
      await rejects(out("/missing"), "not_found");
      await rejects(out("/missing/x"), "not_found");
      await rejects(out("/etc/passwd/"), "invalid_argument");
      await rejects(out(""), "invalid_argument");
      await rejects(out("/a\0b"), "invalid_argument");
    });

    it("stops in the middle where the reader does, and leaves no descriptor", async () => {
      const before = openFiles();
      for await (const _ of await copyOut(kernel, root, "/")) break;
      assert.deepEqual(openFiles(), before);
    });

    it("leaves the kernel's own files out", async () => {
      mkdirSync(join(rootPath, "mnt/proc"), { recursive: true });
      execFileSync("mount", ["-t", "proc", "proc", join(rootPath, "mnt/proc")]);
      try {
        assert.deepEqual(await list("/mnt"), ["mnt/", "mnt/proc/"]);
        await rejects(out("/mnt/proc/self/status"), "failed_precondition");
      } finally {
        execFileSync("umount", [join(rootPath, "mnt/proc")]);
      }
    });
  });

  it("describeFile() tells what a path is", () => {
    const { modified, ...file } = describeFile(kernel, root, "/a/f");
    assert.deepEqual(file, { name: "f", sizeBytes: 5, mode: 0o104755, linkTarget: undefined });
    assert.deepEqual(modified, { seconds: 0, nanoseconds: 123456789 });
    assert.equal(describeFile(kernel, root, "/to-etc").linkTarget, "/etc");
    assert.equal(describeFile(kernel, root, "/to-etc/").mode & 0o170000, 0o040000);
  });

  describe("copyIn()", () => {
    it("makes the tree that tar archived, plain and compressed", async () => {
      const archive = spawnSync("tar", ["-c", "--xattrs", "--format=pax", "-C", rootPath, "a"], { maxBuffer: 1 << 26 });
      const wanted = describeTree(kernel, join(rootPath, "a")).filter((line) => !line.startsWith("socket "));
      for (const bytes of [archive.stdout, gzipSync(archive.stdout)]) {
        const where = fresh(true);
        await put(where.slice(rootPath.length), bytes);
        assert.deepEqual(describeTree(kernel, join(where, "a")), wanted);
      }
    });

    it("takes back what copyOut() gave", async () => {
      const where = fresh(true);
      await put(where.slice(rootPath.length), await out("/a/."));
      const wanted = describeTree(kernel, join(rootPath, "a")).filter((line) => !line.startsWith("socket "));
      // The folder was there before, and stays as it was.
      assert.deepEqual(describeTree(kernel, where).slice(1), wanted.slice(1));
    });

    it("follows links of the container inside it", async () => {
      await put("/to-etc", tarOf({ path: "one", content: "1" }));
      await put("/up", tarOf({ path: "two", content: "2" }));
      assert.deepEqual([
        readFileSync(join(rootPath, "etc/one"), "utf8"),
        readFileSync(join(rootPath, "etc/two"), "utf8"),
      ], [
        "1",
        "2",
      ]);
      await rejects(put("/magic", tarOf({ path: "one", content: "1" })), "not_found");
    });

    it("lets no entry out", async () => {
      const where = fresh(true);
      const at = where.slice(rootPath.length);
      const victim = join(folder, "victim");
      writeFileSync(victim, "safe");
      for (const path of ["../x", "a/../../x", "../../../../tmp/x"]) {
        await rejects(put(at, tarOf({ path, content: "x" })), "invalid_argument");
      }
      await rejects(put(at, tarOf({ path: "l", type: "1", link: "../../etc/passwd" })), "invalid_argument");
      await put(
        at,
        tarOf(
          { path: "/absolute", content: "in" },
          { path: "away", type: "2", link: folder },
          { path: "away/victim", content: "mine" },
          { path: "up", type: "2", link: "../../../../../../../.." },
          { path: "up/top", content: "in" },
          { path: ".wh.kept", content: "a name like others" },
        ),
      );
      assert.equal(readFileSync(victim, "utf8"), "safe");
      assert.equal(readFileSync(join(rootPath, folder, "victim"), "utf8"), "mine");
      assert.ok(existsSync(join(where, "absolute")) && existsSync(join(rootPath, "top")));
      assert.ok(existsSync(join(where, ".wh.kept")));
    });

    it("replaces what is there, or refuses to make a file of a folder", async () => {
      const where = fresh(true);
      const at = where.slice(rootPath.length);
      await put(at, tarOf({ path: "d/f", content: "1" }, { path: "f", content: "1" }));
      await rejects(put(at, tarOf({ path: "d", content: "2" }), { replace: false }), "already_exists");
      await rejects(put(at, tarOf({ path: "f", type: "5" }), { replace: false }), "already_exists");
      await put(at, tarOf({ path: "d/f", content: "2" }, { path: "f", content: "2" }), { replace: false });
      assert.equal(readFileSync(join(where, "d/f"), "utf8"), "2");
      await put(at, tarOf({ path: "d", content: "3" }, { path: "f", type: "5" }));
      assert.ok(statSync(join(where, "d")).isFile() && statSync(join(where, "f")).isDirectory());
    });

    it("gives files to an owner where it is told one", async () => {
      const where = fresh(true);
      await put(where.slice(rootPath.length), tarOf({ path: "f", uid: 3, gid: 4 }), {
        owner: { uid: 1000, gid: 1001 },
      });
      const { uid, gid } = statSync(join(where, "f"));
      assert.deepEqual([uid, gid], [1000, 1001]);
    });

    it("refuses what is no folder and what is no archive", async () => {
      const archive = tarOf({ path: "f", content: "x".repeat(5000) });
      await rejects(put("/missing", archive), "not_found");
      await rejects(put("/etc/passwd", archive), "invalid_argument");
      await rejects(put("/in", archive.subarray(0, 2000)), "data_loss");
      await rejects(put("/in", new TextEncoder().encode("hello ".repeat(200))), "invalid_argument");
      await rejects(put("/in", archive, { limits: { bytes: 1000, entries: 10 } }), "resource_exhausted");
      const before = openFiles();
      await rejects(put("/in", archive.subarray(0, 2000)), "data_loss");
      assert.deepEqual(openFiles(), before);
    });
  });
});
