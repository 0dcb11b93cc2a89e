import { join } from "node:path";
import type { Mount } from "../core/mount.ts";
import type { SnapshotFiles } from "../core/recorded_snapshotter.ts";
import type { SnapshotFolder, SnapshotUsage } from "../core/snapshotter.ts";
import type { SnapshotFolders } from "./snapshot_folders.ts";

const root = "fs";

/** What one way of keeping whole trees has of its own. A tree is given by its path. */
export interface TreeMaker {
  /** Makes a tree like its parent, or an empty one of root's own with mode 755. @param name the tree's, in a folder that is there. */
  make(folder: string, name: string, parent: string | undefined): Promise<void>;
  /** Keeps a tree from being written. */
  seal?(path: string): Promise<void>;
  usage(path: string, parent: string | undefined, options: { readonly leaf: boolean }): Promise<SnapshotUsage>;
}

/** Snapshots as whole trees `<id>/fs`. A view has no folder; it is its parent's, read-only. */
export class WholeTrees implements SnapshotFiles {
  readonly #folders: SnapshotFolders;
  readonly #maker: TreeMaker;

  constructor(folders: SnapshotFolders, maker: TreeMaker) {
    this.#folders = folders;
    this.#maker = maker;
  }

  create(id: number, parents: readonly number[]): Promise<void> {
    return this.#folders.create(id, (path) => this.#maker.make(path, root, this.#parent(parents)));
  }

  exists(id: number): Promise<boolean> {
    return this.#folders.exists(id);
  }

  mounts({ kind, id }: { readonly kind: "active" | "view"; readonly id: number }, parents: readonly number[]): Mount[] {
    const parent = this.#parent(parents);
    return kind === "active" || parent === undefined
      ? [{ type: "bind", source: this.#path(id), options: ["rbind", "rw"] }]
      : [{ type: "bind", source: parent, options: ["rbind", "ro"] }];
  }

  folder(id: number, parents: readonly number[]): SnapshotFolder {
    const parent = this.#parent(parents);
    return { path: this.#path(id), whole: true, below: parent === undefined ? [] : [parent] };
  }

  async seal(id: number): Promise<void> {
    await this.#maker.seal?.(this.#path(id));
  }

  usage(id: number, parents: readonly number[], options: { readonly leaf: boolean }): Promise<SnapshotUsage> {
    return this.#maker.usage(this.#path(id), this.#parent(parents), options);
  }

  remove(id: number): Promise<void> {
    return this.#folders.remove(id);
  }

  cleanup(owned: () => Promise<ReadonlySet<number>>): Promise<readonly string[]> {
    return this.#folders.cleanup(owned);
  }

  #parent([nearest]: readonly number[]): string | undefined {
    return nearest === undefined ? undefined : this.#path(nearest);
  }

  #path(id: number): string {
    return join(this.#folders.path(id), root);
  }
}
