import { join } from "node:path";
import type { Metadata } from "../../src/core/metadata.ts";
import type { Plugin } from "../../src/core/plugin.ts";
import { RecordedSnapshotter } from "../../src/core/recorded_snapshotter.ts";
import type { Snapshotter } from "../../src/core/snapshotter.ts";
import { Kernel } from "../../src/linux/kernel.ts";
import { SnapshotFolders } from "../../src/linux/snapshot_folders.ts";
import { OverlayFiles } from "./files.ts";
import { overlayOptions } from "./options.ts";
import { probe } from "./probe.ts";

/** Layers as folders, stacked by the kernel's overlay filesystem. */
export const overlay: Plugin<Snapshotter> = {
  kind: "snapshotter",
  id: "overlay",
  contract: 1,
  requires: ["metadata"],
  probe,
  async create(context) {
    const kernel = new Kernel(context.host);
    const folders = await SnapshotFolders.open(kernel, join(context.root, "snapshots", "overlay"));
    const store = context.get<Metadata>("metadata").snapshots("overlay");
    const files = new OverlayFiles(kernel, folders, await overlayOptions());
    return new RecordedSnapshotter({ id: "overlay", scratch: true, store, files });
  },
};
