import { join } from "node:path";
import type { Metadata } from "../../src/core/metadata.ts";
import type { Plugin } from "../../src/core/plugin.ts";
import { RecordedSnapshotter } from "../../src/core/recorded_snapshotter.ts";
import type { Snapshotter } from "../../src/core/snapshotter.ts";
import { Kernel } from "../../src/linux/kernel.ts";
import { OverlayFiles } from "../../src/linux/overlay/files.ts";
import { OverlayConfig, overlayOptions } from "../../src/linux/overlay/options.ts";
import { SnapshotFolders } from "../../src/linux/snapshot_folders.ts";
import { probe } from "./probe.ts";

/** Layers as folders, stacked by the kernel's overlay filesystem. */
export const overlay: Plugin<Snapshotter, typeof OverlayConfig> = {
  kind: "snapshotter",
  id: "overlay",
  contract: 1,
  requires: ["metadata"],
  config: OverlayConfig,
  probe,
  async create(context) {
    const kernel = new Kernel(context.host);
    const folders = await SnapshotFolders.open(kernel, join(context.root, "snapshots", "overlay"));
    const store = context.get<Metadata>("metadata").snapshots("overlay");
    const files = new OverlayFiles(kernel, folders, await overlayOptions(kernel, context.config));
    return new RecordedSnapshotter({ id: "overlay", scratch: true, store, files });
  },
};
