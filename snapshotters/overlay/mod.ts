import { join } from "node:path";
import * as v from "valibot";
import type { Metadata } from "../../src/core/metadata.ts";
import type { Plugin } from "../../src/core/plugin.ts";
import { RecordedSnapshotter } from "../../src/core/recorded_snapshotter.ts";
import type { Snapshotter } from "../../src/core/snapshotter.ts";
import { Kernel } from "../../src/linux/kernel.ts";
import { ownIds } from "../../src/linux/own_ids.ts";
import { SnapshotFolders } from "../../src/linux/snapshot_folders.ts";
import { OverlayFiles } from "./files.ts";
import { overlayOptions } from "./options.ts";
import { probe } from "./probe.ts";

const Config = v.strictObject({
  /**
   * Whether containers whose changes are kept write without waiting for the disk: an fsync of theirs is done at once, and
   * their end does not flush the whole filesystem. What they wrote in the last half minute is lost when the machine fails;
   * when only the daemon does, nothing is. Default true.
   */
  volatile: v.optional(v.boolean(), true),
});

/** Layers as folders, stacked by the kernel's overlay filesystem. */
export const overlay: Plugin<Snapshotter, typeof Config> = {
  kind: "snapshotter",
  id: "overlay",
  contract: 1,
  requires: ["metadata"],
  config: Config,
  probe,
  async create(context) {
    const kernel = new Kernel(context.host);
    const folders = await SnapshotFolders.open(kernel, join(context.root, "snapshots", "overlay"));
    const store = context.get<Metadata>("metadata").snapshots("overlay");
    const files = new OverlayFiles(
      kernel,
      folders,
      await overlayOptions({ ...context.config, user: !ownIds(kernel).all }),
    );
    return new RecordedSnapshotter({ id: "overlay", scratch: true, store, files });
  },
};
