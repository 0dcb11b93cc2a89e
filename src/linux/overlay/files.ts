import { chmod, chown, mkdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Mount } from "../../core/mount.ts";
import type { SnapshotFiles } from "../../core/recorded_snapshotter.ts";
import type { SnapshotFolder, SnapshotUsage } from "../../core/snapshotter.ts";
import type { Kernel } from "../kernel.ts";
import type { SnapshotFolders } from "../snapshot_folders.ts";
import { treeUsage } from "../tree_usage.ts";
import type { OverlayOptions } from "./options.ts";

/**
 * Snapshots as folders `<id>/fs`, each with what its layer adds and hides; the kernel stacks them.
 *
 * An active snapshot also has `<id>/work`, which overlayfs wants for itself. A view has no folder at all.
 */
export class OverlayFiles implements SnapshotFiles {
  readonly #kernel: Kernel;
  readonly #folders: SnapshotFolders;
  readonly #options: OverlayOptions;
  readonly #layer: (id: number) => string;

  /** @param layer where a committed snapshot's layer is seen. Default: where it was written. */
  constructor(kernel: Kernel, folders: SnapshotFolders, options: OverlayOptions, layer?: (id: number) => string) {
    this.#kernel = kernel;
    this.#folders = folders;
    this.#options = options;
    this.#layer = layer ?? ((id) => this.#path(id));
  }

  create(id: number, [parent]: readonly number[]): Promise<void> {
    return this.#folders.create(id, async (path) => {
      const root = join(path, "fs");
      for (const folder of [root, join(path, "work")]) await mkdir(folder);
      // The merged root has the attributes of the uppermost folder, so a new one takes over its parent's.
      const { mode, uid, gid } = parent === undefined
        ? { mode: 0o755, uid: 0, gid: 0 }
        : await stat(this.#layer(parent));
      if (uid !== 0 || gid !== 0) await chown(root, uid, gid);
      await chmod(root, mode & 0o7777);
    });
  }

  exists(id: number): Promise<boolean> {
    return this.#folders.exists(id);
  }

  /** A volatile overlay leaves this mark, and the kernel refuses the folders a second time while it is there. */
  reopen(id: number): Promise<void> {
    return rm(this.#folders.path(id, "work", "work", "incompat"), { recursive: true, force: true });
  }

  /** One folder alone is bound: overlayfs wants two at least. */
  mounts({ kind, id }: { readonly kind: "active" | "view"; readonly id: number }, parents: readonly number[]): Mount[] {
    const lower = parents.map(this.#layer);
    const lowerdir = `lowerdir=${lower.map(escape).join(":")}`;
    if (kind === "view") {
      const [only, ...others] = lower;
      if (only !== undefined && others.length === 0) return [{ type: "bind", source: only, options: ["rbind", "ro"] }];
      return [{ type: "overlay", source: "overlay", options: ["ro", lowerdir, ...this.#options.readonly] }];
    }
    if (lower.length === 0) return [{ type: "bind", source: this.#path(id), options: ["rbind", "rw"] }];
    const options = [
      lowerdir,
      `upperdir=${escape(this.#path(id))}`,
      `workdir=${escape(this.#folders.path(id, "work"))}`,
      ...this.#options.writable,
    ];
    return [{ type: "overlay", source: "overlay", options }];
  }

  folder(id: number, parents: readonly number[]): SnapshotFolder {
    return { path: this.#path(id), whole: false, below: parents.map(this.#layer) };
  }

  seal(id: number): Promise<void> {
    return rm(this.#folders.path(id, "work"), { recursive: true, force: true });
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

/** Colons part the folders and commas the options; a backslash takes their meaning away. */
function escape(path: string): string {
  return path.replace(/[\\:,]/g, "\\$&");
}
