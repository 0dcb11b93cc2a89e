import { chmod, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { TreeCopy } from "../../src/linux/copy_tree.ts";
import type { Kernel } from "../../src/linux/kernel.ts";
import { treeUsage } from "../../src/linux/tree_usage.ts";
import type { TreeMaker } from "../../src/linux/whole_trees.ts";

/** Trees that are copied, file by file. */
export function copies(kernel: Kernel): TreeMaker {
  return {
    async make(folder, name, parent) {
      const path = join(folder, name);
      await mkdir(path);
      // Whatever the umask takes away.
      await chmod(path, 0o755);
      if (parent === undefined) return;
      using copy = new TreeCopy(kernel);
      await copy.folder(parent, path);
    },
    usage: (path) => treeUsage(kernel, path),
  };
}
