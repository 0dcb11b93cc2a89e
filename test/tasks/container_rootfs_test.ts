import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { btrfs } from "../../snapshotters/btrfs/mod.ts";
import { erofs } from "../../snapshotters/erofs/mod.ts";
import { native } from "../../snapshotters/native/mod.ts";
import { overlay } from "../../snapshotters/overlay/mod.ts";
import { prepareRootfs } from "../../src/tasks/container_rootfs.ts";
import type { SnapshotterUnderTest } from "../contract/snapshotter.ts";
import { mountBtrfs } from "../support/btrfs_mount.ts";
import { opener } from "../snapshotters/open.ts";

for (const plugin of [overlay, erofs, native, btrfs]) {
  describe(`prepareRootfs() with ${plugin.id}`, () => {
    let mount: ReturnType<typeof mountBtrfs> | undefined;
    let folder = "";
    let opened: SnapshotterUnderTest;

    before(async () => {
      if (plugin === btrfs) mount = mountBtrfs();
      folder = mkdtempSync(join(mount?.path ?? tmpdir(), "mayfly-rootfs-"));
      opened = await opener(plugin).open(join(folder, "root"));
      const { snapshotter } = opened;
      await snapshotter.prepare("unpacking");
      writeFileSync(join((await snapshotter.folder("unpacking")).path, "file"), "image");
      await snapshotter.commit("chain", "unpacking");
    });
    after(async () => {
      await opened[Symbol.asyncDispose]();
      if (mount === undefined) rmSync(folder, { recursive: true });
      mount?.[Symbol.dispose]();
    });

    it("keeps what is written where it is to be kept", async () => {
      const { snapshotter } = opened;
      const rootfs = await prepareRootfs(snapshotter, "kept", "chain", { keep: true });
      assert.equal(rootfs.scratch, undefined);
      assert.equal((await snapshotter.stat("kept")).kind, "active");
      const target = join(folder, "mnt");
      mkdirSync(target);
      const [{ type, source, options } = assert.fail("no mount")] = rootfs.mounts;
      const flags = type === "bind" ? [] : ["-t", type];
      execFileSync("mount", [...flags, "-o", options.join(","), source, target]);
      try {
        writeFileSync(join(target, "written"), "x");
      } finally {
        execFileSync("umount", [target]);
      }
      assert.ok(readdirSync((await snapshotter.folder("kept")).path).includes("written"));
      await snapshotter.remove("kept");
    });

    it("else has it in memory, where the snapshotter can do that", async () => {
      const { snapshotter } = opened;
      const { scratch } = await prepareRootfs(snapshotter, "thrown away", "chain", { scratchBytes: 1 << 20 });
      assert.deepEqual(scratch, snapshotter.scratch ? { sizeBytes: 1 << 20 } : undefined);
      assert.equal((await snapshotter.stat("thrown away")).kind, snapshotter.scratch ? "view" : "active");
      await snapshotter.remove("thrown away");
    });
  });
}
