import { join } from "node:path";
import type { Metadata } from "../../src/core/metadata.ts";
import type { Plugin } from "../../src/core/plugin.ts";
import { RecordedSnapshotter } from "../../src/core/recorded_snapshotter.ts";
import type { Snapshotter } from "../../src/core/snapshotter.ts";
import { Kernel } from "../../src/linux/kernel.ts";
import { SnapshotFolders } from "../../src/linux/snapshot_folders.ts";
import { WholeTrees } from "../../src/linux/whole_trees.ts";
import { copies } from "./copies.ts";

/** Whole copies of the tree: works on every filesystem, and costs its size for each snapshot. */
export const native: Plugin<Snapshotter> = {
  kind: "snapshotter",
  id: "native",
  contract: 1,
  requires: ["metadata"],
  probe({ host }) {
    if (new Kernel(host).attempt("geteuid") === 0) return { available: true };
    return { available: false, reason: "only root may give files to other users: run as root" };
  },
  async create(context) {
    const kernel = new Kernel(context.host);
    const folders = await SnapshotFolders.open(kernel, join(context.root, "snapshots", "native"));
    const store = context.get<Metadata>("metadata").snapshots("native");
    return new RecordedSnapshotter({
      id: "native",
      scratch: false,
      store,
      files: new WholeTrees(folders, copies(kernel)),
    });
  },
};
