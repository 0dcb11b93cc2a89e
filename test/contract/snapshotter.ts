import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { codeOf, type ErrorCode } from "../../src/core/errors.ts";
import type { Mount } from "../../src/core/mount.ts";
import type { Snapshotter } from "../../src/core/snapshotter.ts";

/** A snapshotter to be tested, on a root folder of its own. */
export interface SnapshotterUnderTest extends AsyncDisposable {
  readonly snapshotter: Snapshotter;
  /** The folder in which it keeps the folders of snapshots. */
  readonly folder: string;
}

/**
 * What every snapshotter has to do. Needs root.
 * @param open makes a snapshotter in an empty root folder.
 */
export function snapshotterContract(name: string, open: (root: string) => Promise<SnapshotterUnderTest>): void {
  describe(`snapshotter ${name}`, () => {
    const folder = mkdtempSync(join(tmpdir(), "mayfly-snapshotter-"));
    const target = join(folder, "mnt");
    let opened: SnapshotterUnderTest;
    let snapshotter: Snapshotter;

    before(async () => {
      mkdirSync(target);
      opened = await open(join(folder, "root"));
      snapshotter = opened.snapshotter;
    });

    after(async () => {
      await opened[Symbol.asyncDispose]();
      rmSync(folder, { recursive: true, force: true });
    });

    /** Runs a function while the mounts are in place. */
    const mounted = <T>(mounts: readonly Mount[], use: (path: string) => T): T => {
      let count = 0;
      try {
        for (const { type, source, options } of mounts) {
          const flags = type === "bind" ? [] : ["-t", type];
          execFileSync("mount", [...flags, "-o", options.join(","), source, target]);
          count++;
        }
        return use(target);
      } finally {
        for (; count > 0; count--) execFileSync("umount", [target]);
      }
    };

    /** Commits a layer that a function writes through its mounts. */
    const layer = async (key: string, parent: string | undefined, write: (path: string) => void): Promise<void> => {
      mounted(await snapshotter.prepare(`active ${key}`, parent), write);
      await snapshotter.commit(key, `active ${key}`);
    };

    /** Reads the tree of a committed snapshot. */
    const read = async <T>(key: string, use: (path: string) => T): Promise<T> => {
      const mounts = await snapshotter.view(`view of ${key}`, key);
      try {
        return mounted(mounts, use);
      } finally {
        await snapshotter.remove(`view of ${key}`);
      }
    };

    const rejects = (promise: Promise<unknown>, code: ErrorCode) =>
      assert.rejects(promise, (error) => {
        assert.equal(codeOf(error), code, String(error));
        return true;
      });

    it("prepare() gives an empty folder, and commit() seals what was written", async () => {
      const mounts = await snapshotter.prepare("first active");
      mounted(mounts, (path) => {
        assert.deepEqual(readdirSync(path), []);
        writeFileSync(join(path, "file"), "first");
      });
      assert.equal((await snapshotter.stat("first active")).kind, "active");
      await snapshotter.commit("first", "first active");
      const info = await snapshotter.stat("first");
      assert.equal(info.kind, "committed");
      assert.equal(info.parent, undefined);
      await rejects(snapshotter.stat("first active"), "not_found");
      await read("first", (path) => assert.equal(readFileSync(join(path, "file"), "utf8"), "first"));
    });

    it("a child shows its parents, and changes nothing in them", async () => {
      await layer("low", undefined, (path) => {
        mkdirSync(join(path, "folder"));
        writeFileSync(join(path, "folder/kept"), "low");
        writeFileSync(join(path, "changed"), "low");
      });
      await layer("high", "low", (path) => {
        writeFileSync(join(path, "changed"), "high");
        writeFileSync(join(path, "folder/added"), "high");
        symlinkSync("added", join(path, "folder/link"));
      });
      await layer("higher", "high", (path) => writeFileSync(join(path, "top"), "higher"));
      assert.equal((await snapshotter.stat("higher")).parent, "high");
      await read("higher", (path) => {
        assert.deepEqual(readdirSync(path).sort(), ["changed", "folder", "top"]);
        assert.deepEqual(readdirSync(join(path, "folder")).sort(), ["added", "kept", "link"]);
        assert.equal(readFileSync(join(path, "changed"), "utf8"), "high");
      });
      await read("low", (path) => {
        assert.deepEqual(readdirSync(path).sort(), ["changed", "folder"]);
        assert.equal(readFileSync(join(path, "changed"), "utf8"), "low");
      });
    });

    it("what a child removes stays in its parent, and away in its own children", async () => {
      await layer("full", undefined, (path) => {
        mkdirSync(join(path, "emptied"));
        writeFileSync(join(path, "emptied/old"), "");
        writeFileSync(join(path, "gone"), "");
      });
      await layer("removed", "full", (path) => {
        rmSync(join(path, "gone"));
        rmSync(join(path, "emptied"), { recursive: true });
        mkdirSync(join(path, "emptied"));
        writeFileSync(join(path, "emptied/new"), "");
      });
      await layer("above", "removed", (path) => writeFileSync(join(path, "more"), ""));
      await read("above", (path) => {
        assert.deepEqual(readdirSync(path).sort(), ["emptied", "more"]);
        assert.deepEqual(readdirSync(join(path, "emptied")), ["new"]);
      });
      await read("full", (path) => assert.deepEqual(readdirSync(path).sort(), ["emptied", "gone"]));
    });

    it("folder() is where a layer is written without a mount", async () => {
      await layer("under", undefined, (path) => writeFileSync(join(path, "below"), ""));
      const mounts = await snapshotter.prepare("unpacking", "under");
      const { path, whole, below } = await snapshotter.folder("unpacking");
      writeFileSync(join(path, "written"), "x");
      mounted(mounts, (path) => assert.deepEqual(readdirSync(path).sort(), ["below", "written"]));
      assert.equal(existsSync(join(path, "below")), whole);
      assert.equal(below.length, whole ? 0 : 1);
      await snapshotter.remove("unpacking");
      await rejects(snapshotter.folder("unpacking"), "not_found");
      await rejects(snapshotter.folder("under"), "failed_precondition");
    });

    it("mounts() gives what prepare() gave, also after a mount", async () => {
      await layer("base of again", undefined, () => {});
      const mounts = await snapshotter.prepare("again", "base of again");
      mounted(mounts, (path) => writeFileSync(join(path, "kept"), ""));
      assert.deepEqual(await snapshotter.mounts("again"), mounts);
      mounted(await snapshotter.mounts("again"), (path) => assert.deepEqual(readdirSync(path), ["kept"]));
      await snapshotter.remove("again");
    });

    it("a view cannot be written", async () => {
      await layer("read-only", undefined, (path) => writeFileSync(join(path, "file"), ""));
      await read("read-only", (path) => assert.throws(() => writeFileSync(join(path, "file"), "x"), /EROFS/));
    });

    it("keys are used once", async () => {
      await layer("taken", undefined, () => {});
      await rejects(snapshotter.prepare("taken"), "already_exists");
      await snapshotter.prepare("also taken");
      await rejects(snapshotter.prepare("also taken"), "already_exists");
      await rejects(snapshotter.view("also taken", "taken"), "already_exists");
      await rejects(snapshotter.commit("taken", "also taken"), "already_exists");
      assert.equal((await snapshotter.stat("also taken")).kind, "active");
      await snapshotter.remove("also taken");
    });

    it("a parent has to be committed and there", async () => {
      await snapshotter.prepare("not committed");
      await rejects(snapshotter.prepare("child", "not committed"), "failed_precondition");
      await rejects(snapshotter.view("child", "not committed"), "failed_precondition");
      await rejects(snapshotter.prepare("child", "nowhere"), "not_found");
      await rejects(snapshotter.view("child", "nowhere"), "not_found");
      await rejects(snapshotter.stat("child"), "not_found");
      await snapshotter.remove("not committed");
    });

    it("only what is active is committed, and what is committed has no mounts", async () => {
      await layer("done", undefined, () => {});
      await rejects(snapshotter.commit("done again", "done"), "failed_precondition");
      await rejects(snapshotter.mounts("done"), "failed_precondition");
      await rejects(snapshotter.mounts("nowhere"), "not_found");
      await rejects(snapshotter.commit("x", "nowhere"), "not_found");
      await snapshotter.view("look", "done");
      await rejects(snapshotter.commit("x", "look"), "failed_precondition");
      await snapshotter.remove("look");
    });

    it("remove() refuses a parent, and leaves nothing of others", async () => {
      await layer("mother", undefined, (path) => writeFileSync(join(path, "file"), "x"));
      await snapshotter.prepare("daughter", "mother");
      await snapshotter.view("look at mother", "mother");
      await rejects(snapshotter.remove("mother"), "failed_precondition");
      const before = readdirSync(opened.folder).length;
      await snapshotter.remove("daughter");
      await snapshotter.remove("look at mother");
      await snapshotter.remove("mother");
      await rejects(snapshotter.remove("mother"), "not_found");
      assert.equal(readdirSync(opened.folder).length, before - 2);
    });

    it("usage() counts a snapshot's own files", async () => {
      await layer("counted", undefined, (path) => writeFileSync(join(path, "file"), new Uint8Array(100_000)));
      const { bytes, inodes } = await snapshotter.usage("counted");
      assert.ok(bytes >= 100_000 && bytes < 200_000, String(bytes));
      assert.equal(inodes, 2);
      await rejects(snapshotter.usage("nowhere"), "not_found");
    });

    it("cleanup() removes what a crash left, and nothing else", async () => {
      const lost = join(opened.folder, "987654");
      const halfRemoved = join(opened.folder, "trash-987653");
      for (const path of [lost, halfRemoved]) mkdirSync(join(path, "fs/deep/er"), { recursive: true });
      writeFileSync(join(lost, "fs/deep/file"), "");
      const before = readdirSync(opened.folder).length;
      assert.deepEqual([...await snapshotter.cleanup()].sort(), [lost, halfRemoved].sort());
      assert.equal(readdirSync(opened.folder).length, before - 2);
      assert.deepEqual(await snapshotter.cleanup(), []);
      await read("higher", (path) => assert.ok(existsSync(join(path, "folder/kept"))));
    });

    it("walk() lists every snapshot", async () => {
      await snapshotter.prepare("walked");
      const infos = await snapshotter.walk();
      assert.ok(infos.some(({ key, kind }) => key === "walked" && kind === "active"));
      assert.ok(infos.some(({ key, kind, parent }) => key === "high" && kind === "committed" && parent === "low"));
      assert.equal(new Set(infos.map(({ id }) => id)).size, infos.length);
      await snapshotter.remove("walked");
    });
  });
}
