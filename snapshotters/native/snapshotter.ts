import { Failure } from "../../src/core/errors.ts";
import type { Mount } from "../../src/core/mount.ts";
import type { SnapshotInfo, SnapshotStore, Snapshotter } from "../../src/core/snapshotter.ts";
import { TreeCopy } from "../../src/linux/copy_tree.ts";
import type { Kernel } from "../../src/linux/kernel.ts";
import type { SnapshotFolders } from "../../src/linux/snapshot_folders.ts";
import { treeUsage } from "../../src/linux/tree_usage.ts";

/**
 * Snapshots as whole trees `<id>/fs`: an active one begins as a copy of its parent. A view has no folder; it is its
 * parent's, read-only.
 */
export class NativeSnapshotter implements Snapshotter {
  readonly id = "native";
  readonly scratch = false;
  readonly #kernel: Kernel;
  readonly #folders: SnapshotFolders;
  readonly #store: SnapshotStore;

  constructor({ kernel, folders, store }: {
    readonly kernel: Kernel;
    readonly folders: SnapshotFolders;
    readonly store: SnapshotStore;
  }) {
    this.#kernel = kernel;
    this.#folders = folders;
    this.#store = store;
  }

  async stat(key: string): Promise<SnapshotInfo> {
    const info = await this.#store.get(key);
    if (info !== undefined) return info;
    throw new Failure("not_found", `cannot find snapshot ${JSON.stringify(key)} of native`);
  }

  async mounts(key: string): Promise<readonly Mount[]> {
    const info = await this.stat(key);
    if (info.kind !== "committed") return this.#mounts(info);
    throw new Failure(
      "failed_precondition",
      `cannot mount snapshot ${JSON.stringify(key)}: it is committed: make a view of it`,
    );
  }

  async prepare(key: string, parent?: string): Promise<readonly Mount[]> {
    const info = await this.#store.create(key, "active", parent);
    try {
      await this.#folders.create(info.id, "fs");
      if (info.parent !== undefined) {
        const { id } = await this.stat(info.parent);
        using copy = new TreeCopy(this.#kernel);
        await copy.folder(this.#path(id), this.#path(info.id));
      }
      return await this.#mounts(info);
    } catch (error) {
      await this.remove(key);
      throw error;
    }
  }

  async view(key: string, parent: string): Promise<readonly Mount[]> {
    return this.#mounts(await this.#store.create(key, "view", parent));
  }

  async folder(key: string): Promise<{ path: string; whole: boolean; below: readonly string[] }> {
    const info = await this.stat(key);
    if (info.kind === "active") return { path: this.#path(info.id), whole: true, below: [] };
    throw new Failure(
      "failed_precondition",
      `cannot write into snapshot ${JSON.stringify(key)}: it is ${info.kind}, want an active one`,
    );
  }

  async commit(name: string, key: string): Promise<void> {
    await this.#store.commit(name, key);
  }

  async remove(key: string): Promise<void> {
    const { id } = await this.#store.remove(key);
    await this.#folders.remove(id);
  }

  async usage(key: string): Promise<{ bytes: number; inodes: number }> {
    const info = await this.stat(key);
    if (info.kind === "view") return { bytes: 0, inodes: 0 };
    return await treeUsage(this.#kernel, this.#path(info.id));
  }

  walk(): Promise<readonly SnapshotInfo[]> {
    return this.#store.list();
  }

  cleanup(): Promise<readonly string[]> {
    return this.#folders.cleanup(this.#store);
  }

  async #mounts(info: SnapshotInfo): Promise<readonly Mount[]> {
    if (info.kind === "active") return [{ type: "bind", source: this.#path(info.id), options: ["rbind", "rw"] }];
    const parent = await this.stat(info.parent ?? "");
    return [{ type: "bind", source: this.#path(parent.id), options: ["rbind", "ro"] }];
  }

  #path(id: number): string {
    return this.#folders.path(id, "fs");
  }
}
