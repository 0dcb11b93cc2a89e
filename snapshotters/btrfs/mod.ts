import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Metadata } from "../../src/core/metadata.ts";
import type { Plugin } from "../../src/core/plugin.ts";
import { RecordedSnapshotter } from "../../src/core/recorded_snapshotter.ts";
import type { Snapshotter } from "../../src/core/snapshotter.ts";
import { Btrfs } from "../../src/linux/btrfs.ts";
import { Kernel } from "../../src/linux/kernel.ts";
import { removeTree } from "../../src/linux/remove_tree.ts";
import { SnapshotFolders } from "../../src/linux/snapshot_folders.ts";
import { WholeTrees } from "../../src/linux/whole_trees.ts";
import { probe } from "./probe.ts";
import { subvolumes } from "./subvolumes.ts";

/** Subvolumes of btrfs: whole trees that share on disk what they have in common. */
export const btrfs: Plugin<Snapshotter> = {
  kind: "snapshotter",
  id: "btrfs",
  contract: 1,
  requires: ["metadata"],
  probe,
  async create(context) {
    const kernel = new Kernel(context.host);
    const calls = new Btrfs(kernel);
    const folders = await SnapshotFolders.open(kernel, join(context.root, "snapshots", "btrfs"), {
      async removeTree(path) {
        // At once, however much is in them; the rest is a folder or two.
        calls.destroyIn(path);
        await removeTree(kernel, path);
      },
    });
    const store = context.get<Metadata>("metadata").snapshots("btrfs");
    const files = new WholeTrees(folders, subvolumes(kernel, calls));
    // Over a view, which is one read-only subvolume, the writable layer in memory is an overlay.
    const scratch = /\toverlay$/m.test(await readFile("/proc/filesystems", "utf8"));
    return new RecordedSnapshotter({ id: "btrfs", scratch, store, files });
  },
};
