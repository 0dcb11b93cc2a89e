import { chmod } from "node:fs/promises";
import { join } from "node:path";
import type { Btrfs } from "../../src/linux/btrfs.ts";
import type { Kernel } from "../../src/linux/kernel.ts";
import { treeUsage } from "../../src/linux/tree_usage.ts";
import type { TreeMaker } from "../../src/linux/whole_trees.ts";

/** Trees that are subvolumes: an active one begins as a snapshot of its parent, which shares all with it; a committed one is read-only. */
export function subvolumes(kernel: Kernel, btrfs: Btrfs): TreeMaker {
  return {
    async make(folder, name, parent) {
      if (parent === undefined) {
        btrfs.create(folder, name);
        // Whatever the umask takes away.
        await chmod(join(folder, name), 0o755);
      } else btrfs.snapshot(parent, folder, name);
    },
    async seal(path) {
      btrfs.setReadOnly(path, true);
    },
    async usage(path, parent, { leaf }) {
      const usage = await treeUsage(kernel, path, { parent });
      // A child shares what is its parent's own, so that its quota group tells nothing of it any more.
      const bytes = leaf ? btrfs.exclusiveBytes(path) : undefined;
      return bytes === undefined ? usage : { ...usage, bytes };
    },
  };
}
