import { join } from "node:path";
import type { Metadata } from "../../src/core/metadata.ts";
import type { Plugin } from "../../src/core/plugin.ts";
import { RecordedSnapshotter } from "../../src/core/recorded_snapshotter.ts";
import type { Snapshotter } from "../../src/core/snapshotter.ts";
import { Kernel } from "../../src/linux/kernel.ts";
import { OverlayFiles } from "../../src/linux/overlay/files.ts";
import { OverlayConfig, overlayOptions } from "../../src/linux/overlay/options.ts";
import { SnapshotFolders } from "../../src/linux/snapshot_folders.ts";
import { ErofsFiles } from "./files.ts";
import { LayerMounts } from "./layer_mounts.ts";
import { probe } from "./probe.ts";

/** Layers as read-only EROFS images, each one file, mounted from there and stacked by the kernel's overlay filesystem. */
export const erofs: Plugin<Snapshotter, typeof OverlayConfig> = {
  kind: "snapshotter",
  id: "erofs",
  contract: 1,
  requires: ["metadata"],
  config: OverlayConfig,
  probe,
  async create(context) {
    const kernel = new Kernel(context.host);
    const folders = await SnapshotFolders.open(kernel, join(context.root, "snapshots", "erofs"));
    const layers = LayerMounts.open(kernel, join(context.run, "erofs"));
    const options = await overlayOptions(kernel, context.config);
    const overlay = new OverlayFiles(kernel, folders, options, (id) => layers.path(id));
    const store = context.get<Metadata>("metadata").snapshots("erofs");
    const files = new ErofsFiles({ kernel, folders, layers, overlay });
    return new RecordedSnapshotter({ id: "erofs", scratch: true, store, files });
  },
};
