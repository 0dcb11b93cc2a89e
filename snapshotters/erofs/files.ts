import { open, rename, stat } from "node:fs/promises";
import type { Mount } from "../../src/core/mount.ts";
import type { SnapshotFiles } from "../../src/core/recorded_snapshotter.ts";
import type { SnapshotFolder, SnapshotUsage } from "../../src/core/snapshotter.ts";
import { inodesOf } from "../../src/linux/erofs/image.ts";
import type { Kernel } from "../../src/linux/kernel.ts";
import type { OverlayFiles } from "../../src/linux/overlay/files.ts";
import { removeTree } from "../../src/linux/remove_tree.ts";
import type { SnapshotFolders } from "../../src/linux/snapshot_folders.ts";
import { imageOfFolder } from "./image_of_folder.ts";
import type { LayerMounts } from "./layer_mounts.ts";

/**
 * Snapshots as folders: `<id>/image` is the layer of a committed one. An active one has what an overlay writes into,
 * `<id>/fs` and `<id>/work`, or an image into which its layer was unpacked. `<id>/new` is an image made of `<id>/fs` that
 * counts from the moment at which the commit is recorded.
 */
export class ErofsFiles implements SnapshotFiles {
  readonly #kernel: Kernel;
  readonly #folders: SnapshotFolders;
  readonly #layers: LayerMounts;
  readonly #overlay: OverlayFiles;

  constructor({ kernel, folders, layers, overlay }: {
    readonly kernel: Kernel;
    readonly folders: SnapshotFolders;
    readonly layers: LayerMounts;
    readonly overlay: OverlayFiles;
  }) {
    this.#kernel = kernel;
    this.#folders = folders;
    this.#layers = layers;
    this.#overlay = overlay;
  }

  create(id: number, parents: readonly number[]): Promise<void> {
    return this.#overlay.create(id, parents);
  }

  exists(id: number): Promise<boolean> {
    return this.#overlay.exists(id);
  }

  reopen(id: number): Promise<void> {
    return this.#overlay.reopen(id);
  }

  async ready(ids: readonly number[]): Promise<void> {
    for (const id of ids) {
      if (this.#layers.use(id)) continue;
      await this.#take(id);
      this.#layers.mount(id, this.#image(id));
    }
  }

  mounts(snapshot: { readonly kind: "active" | "view"; readonly id: number }, parents: readonly number[]): Mount[] {
    return this.#overlay.mounts(snapshot, parents);
  }

  folder(id: number, parents: readonly number[]): SnapshotFolder {
    return { ...this.#overlay.folder(id, parents), image: this.#image(id) };
  }

  async finish(id: number): Promise<void> {
    if (await sizeOf(this.#image(id)) !== undefined) return;
    const path = this.#new(id);
    await imageOfFolder(this.#kernel, this.#folders.path(id, "fs"), path);
    // What it was made of is removed when it counts.
    await using file = await open(path);
    await file.sync();
  }

  async seal(id: number): Promise<void> {
    await this.#take(id);
    await removeTree(this.#kernel, this.#folders.path(id, "fs"));
    await this.#overlay.seal(id);
  }

  async usage(id: number): Promise<SnapshotUsage> {
    const image = this.#image(id);
    const bytes = await sizeOf(image);
    return bytes === undefined ? await this.#overlay.usage(id) : { bytes, inodes: inodesOf(this.#kernel, image) };
  }

  async remove(id: number): Promise<void> {
    this.#layers.unmount(id);
    await this.#overlay.remove(id);
  }

  cleanup(owned: () => Promise<ReadonlySet<number>>): Promise<readonly string[]> {
    return this.#overlay.cleanup(owned);
  }

  release(used: ReadonlySet<number>): void {
    this.#layers.release(used);
  }

  close(): void {
    this.#layers.close();
  }

  /** Takes the image that a commit has made, where there is one. */
  async #take(id: number): Promise<void> {
    try {
      await rename(this.#new(id), this.#image(id));
    } catch (error) {
      if (!isMissing(error)) throw error;
    }
  }

  #image(id: number): string {
    return this.#folders.path(id, "image");
  }

  #new(id: number): string {
    return this.#folders.path(id, "new");
  }
}

/** Bytes on the disk; undefined where it is not there. */
async function sizeOf(path: string): Promise<number | undefined> {
  try {
    return (await stat(path)).blocks * 512;
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "ENOENT";
}
