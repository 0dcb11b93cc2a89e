import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { btrfs } from "../../snapshotters/btrfs/mod.ts";
import { currentHost } from "../../src/host/mod.ts";
import { snapshotterContract } from "../contract/snapshotter.ts";
import { mountBtrfs } from "../support/btrfs_mount.ts";
import { opener } from "./open.ts";

snapshotterContract("btrfs", { ...opener(btrfs), place: async () => mountBtrfs() });

describe("btrfs", () => {
  const probe = async (root: string) => await btrfs.probe!({ host: await currentHost(), root, run: root });

  it("probe() says what is missing, and leaves nothing", async () => {
    const folder = mkdtempSync(join(tmpdir(), "mayfly-probe-"));
    const elsewhere = await probe(join(folder, "root"));
    assert.equal(elsewhere.available, false);
    assert.match("reason" in elsewhere ? elsewhere.reason : "", /is on .*, not on btrfs: mount one there, .*--root/);
    rmSync(folder, { recursive: true });
    using mount = mountBtrfs();
    assert.deepEqual(await probe(mount.path), { available: true });
    assert.deepEqual(readdirSync(join(mount.path, "snapshots/btrfs")), []);
  });

  it("usage() is what the quota group counts, where quotas are on", async () => {
    using mount = mountBtrfs({ quota: true });
    await using opened = await opener(btrfs).open(join(mount.path, "root"));
    const { snapshotter } = opened;
    const sync = () => execFileSync("btrfs", ["filesystem", "sync", mount.path]);
    await snapshotter.prepare("a");
    const { path } = await snapshotter.folder("a");
    writeFileSync(join(path, "file"), new Uint8Array(1 << 20).fill(7));
    sync();
    const alone = await snapshotter.usage("a");
    assert.ok(alone.bytes >= 1 << 20 && alone.bytes < 1.2 * 2 ** 20, String(alone.bytes));
    assert.equal(alone.inodes, 2);
    await snapshotter.commit("base", "a");

    await snapshotter.prepare("b", "base");
    const child = (await snapshotter.folder("b")).path;
    // It has blocks of its own for the one that walks over files, and none on the disk.
    execFileSync("cp", ["--reflink=always", join(child, "file"), join(child, "copy")]);
    sync();
    const copied = await snapshotter.usage("b");
    assert.ok(copied.bytes < 200_000, String(copied.bytes));
    assert.equal(copied.inodes, 2);
    // What is shared with a child is still its own.
    assert.ok((await snapshotter.usage("base")).bytes >= 1 << 20);
    await snapshotter.remove("b");
    await snapshotter.remove("base");
  });

  it("what is committed cannot be written, whoever tries", async () => {
    using mount = mountBtrfs();
    await using opened = await opener(btrfs).open(join(mount.path, "root"));
    const { snapshotter, folder } = opened;
    await snapshotter.prepare("a");
    const { path } = await snapshotter.folder("a");
    await snapshotter.commit("base", "a");
    assert.throws(() => writeFileSync(join(path, "file"), "x"), /EROFS|read-only/i);
    // A crash between the record and the flag: the next cleanup sets it.
    execFileSync("btrfs", ["property", "set", path, "ro", "false"]);
    await snapshotter.cleanup();
    assert.throws(() => writeFileSync(join(path, "file"), "x"), /EROFS|read-only/i);
    await snapshotter.remove("base");
    assert.deepEqual(readdirSync(folder), []);
  });

  it("remove() takes away subvolumes that a container made, read-only ones too", async () => {
    using mount = mountBtrfs();
    await using opened = await opener(btrfs).open(join(mount.path, "root"));
    const { snapshotter, folder } = opened;
    await snapshotter.prepare("a");
    const { path } = await snapshotter.folder("a");
    mkdirSync(join(path, "deep/er"), { recursive: true });
    execFileSync("btrfs", ["-q", "subvolume", "create", join(path, "deep/er/one")]);
    execFileSync("btrfs", ["-q", "subvolume", "create", join(path, "deep/er/one/two")]);
    writeFileSync(join(path, "deep/er/one/two/file"), "x");
    execFileSync("btrfs", ["-q", "subvolume", "snapshot", "-r", join(path, "deep/er/one/two"), join(path, "frozen")]);
    execFileSync("btrfs", ["property", "set", join(path, "deep/er/one"), "ro", "true"]);
    await snapshotter.remove("a");
    assert.ok(!existsSync(path));
    assert.deepEqual(readdirSync(folder), []);
    assert.equal(execFileSync("btrfs", ["subvolume", "list", mount.path], { encoding: "utf8" }), "");
  });
});
