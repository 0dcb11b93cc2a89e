import { chmod, mkdir } from "node:fs/promises";
import { join } from "node:path";
import type { Mount } from "../../src/core/mount.ts";
import type { SnapshotFiles } from "../../src/core/recorded_snapshotter.ts";
import type { SnapshotFolder, SnapshotUsage } from "../../src/core/snapshotter.ts";
import { TreeCopy } from "../../src/linux/copy_tree.ts";
import type { Kernel } from "../../src/linux/kernel.ts";
import type { SnapshotFolders } from "../../src/linux/snapshot_folders.ts";
import { treeUsage } from "../../src/linux/tree_usage.ts";

/**
 * Snapshots as whole trees `<id>/fs`: an active one begins as a copy of its parent. A view has no folder; it is its
 * parent's, read-only.
 */
export class NativeFiles implements SnapshotFiles {
  readonly #kernel: Kernel;
  readonly #folders: SnapshotFolders;

  constructor(kernel: Kernel, folders: SnapshotFolders) {
    this.#kernel = kernel;
    this.#folders = folders;
  }

  create(id: number, [parent]: readonly number[]): Promise<void> {
    return this.#folders.create(id, async (path) => {
      const root = join(path, "fs");
      await mkdir(root);
      // Whatever the umask takes away.
      await chmod(root, 0o755);
      if (parent === undefined) return;
      using copy = new TreeCopy(this.#kernel);
      await copy.folder(this.#path(parent), root);
    });
  }

  exists(id: number): Promise<boolean> {
    return this.#folders.exists(id);
  }

  mounts(
    { kind, id }: { readonly kind: "active" | "view"; readonly id: number },
    [parent]: readonly number[],
  ): Mount[] {
    return kind === "active" || parent === undefined
      ? [{ type: "bind", source: this.#path(id), options: ["rbind", "rw"] }]
      : [{ type: "bind", source: this.#path(parent), options: ["rbind", "ro"] }];
  }

  folder(id: number, [parent]: readonly number[]): SnapshotFolder {
    return { path: this.#path(id), whole: true, below: parent === undefined ? [] : [this.#path(parent)] };
  }

  usage(id: number): Promise<SnapshotUsage> {
    return treeUsage(this.#kernel, this.#path(id));
  }

  remove(id: number): Promise<void> {
    return this.#folders.remove(id);
  }

  cleanup(owned: () => Promise<ReadonlySet<number>>): Promise<readonly string[]> {
    return this.#folders.cleanup(owned);
  }

  #path(id: number): string {
    return this.#folders.path(id, "fs");
  }
}
