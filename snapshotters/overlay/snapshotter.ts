import { chmod, chown, rm, stat } from "node:fs/promises";
import { Failure } from "../../src/core/errors.ts";
import type { Mount } from "../../src/core/mount.ts";
import type { SnapshotInfo, SnapshotStore, Snapshotter } from "../../src/core/snapshotter.ts";
import type { Kernel } from "../../src/linux/kernel.ts";
import type { SnapshotFolders } from "../../src/linux/snapshot_folders.ts";
import { treeUsage } from "../../src/linux/tree_usage.ts";
import type { OverlayOptions } from "./options.ts";

/**
 * Snapshots as folders `<id>/fs`, each with what its layer adds and hides; the kernel stacks them.
 *
 * An active snapshot also has `<id>/work`, which overlayfs wants for itself. A view has no folder at all.
 */
export class OverlaySnapshotter implements Snapshotter {
  readonly id = "overlay";
  readonly scratch = true;
  readonly #kernel: Kernel;
  readonly #folders: SnapshotFolders;
  readonly #store: SnapshotStore;
  readonly #options: OverlayOptions;
  /** The folders of a committed snapshot and its parents, nearest first. What is committed does not change. */
  readonly #stacks = new Map<string, readonly string[]>();

  constructor({ kernel, folders, store, options }: {
    readonly kernel: Kernel;
    readonly folders: SnapshotFolders;
    readonly store: SnapshotStore;
    readonly options: OverlayOptions;
  }) {
    this.#kernel = kernel;
    this.#folders = folders;
    this.#store = store;
    this.#options = options;
  }

  async stat(key: string): Promise<SnapshotInfo> {
    const info = await this.#store.get(key);
    if (info !== undefined) return info;
    throw new Failure("not_found", `cannot find snapshot ${JSON.stringify(key)} of overlay`);
  }

  async mounts(key: string): Promise<readonly Mount[]> {
    const info = await this.stat(key);
    if (info.kind === "committed") {
      throw new Failure(
        "failed_precondition",
        `cannot mount snapshot ${JSON.stringify(key)}: it is committed: make a view of it`,
      );
    }
    if (info.kind === "active") {
      // A volatile overlay leaves this mark, and the kernel refuses the folders a second time while it is there.
      await rm(this.#folders.path(info.id, "work", "work", "incompat"), { recursive: true, force: true });
    }
    return this.#mounts(info);
  }

  async prepare(key: string, parent?: string): Promise<readonly Mount[]> {
    const info = await this.#store.create(key, "active", parent);
    try {
      await this.#folders.create(info.id, "fs", "work");
      await this.#likeParent(info);
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
    if (info.kind !== "active") {
      throw new Failure(
        "failed_precondition",
        `cannot write into snapshot ${JSON.stringify(key)}: it is ${info.kind}, want an active one`,
      );
    }
    return { path: this.#folders.path(info.id, "fs"), whole: false, below: await this.#stack(info.parent) };
  }

  async commit(name: string, key: string): Promise<void> {
    const info = await this.#store.commit(name, key);
    await rm(this.#folders.path(info.id, "work"), { recursive: true, force: true });
  }

  async remove(key: string): Promise<void> {
    const { id } = await this.#store.remove(key);
    this.#stacks.delete(key);
    await this.#folders.remove(id);
  }

  async usage(key: string): Promise<{ bytes: number; inodes: number }> {
    const info = await this.stat(key);
    if (info.kind === "view") return { bytes: 0, inodes: 0 };
    return await treeUsage(this.#kernel, this.#folders.path(info.id, "fs"));
  }

  walk(): Promise<readonly SnapshotInfo[]> {
    return this.#store.list();
  }

  cleanup(): Promise<readonly string[]> {
    return this.#folders.cleanup(this.#store);
  }

  /** One folder alone is bound: overlayfs wants two at least. */
  async #mounts(info: SnapshotInfo): Promise<readonly Mount[]> {
    const lower = await this.#stack(info.parent);
    const lowerdir = `lowerdir=${lower.map(escape).join(":")}`;
    if (info.kind === "view") {
      const [only, ...others] = lower;
      if (only !== undefined && others.length === 0) return [{ type: "bind", source: only, options: ["rbind", "ro"] }];
      return [{ type: "overlay", source: "overlay", options: ["ro", lowerdir, ...this.#options.readonly] }];
    }
    const upper = this.#folders.path(info.id, "fs");
    if (lower.length === 0) return [{ type: "bind", source: upper, options: ["rbind", "rw"] }];
    const options = [
      lowerdir,
      `upperdir=${escape(upper)}`,
      `workdir=${escape(this.#folders.path(info.id, "work"))}`,
      ...this.#options.writable,
    ];
    return [{ type: "overlay", source: "overlay", options }];
  }

  /** The folders of a committed snapshot and all below it, nearest first. */
  async #stack(key: string | undefined): Promise<readonly string[]> {
    if (key === undefined) return [];
    const cached = this.#stacks.get(key);
    if (cached !== undefined) return cached;
    const infos = [await this.stat(key), ...await this.#store.parents(key)];
    const stack = infos.map(({ id }) => this.#folders.path(id, "fs"));
    this.#stacks.set(key, stack);
    return stack;
  }

  /** The merged root has the attributes of the uppermost folder, so a new one takes over its parent's. */
  async #likeParent(info: SnapshotInfo): Promise<void> {
    const [parent] = await this.#stack(info.parent);
    if (parent === undefined) return;
    const { mode, uid, gid } = await stat(parent);
    const path = this.#folders.path(info.id, "fs");
    await chown(path, uid, gid);
    await chmod(path, mode & 0o7777);
  }
}

/** Colons part the folders and commas the options; a backslash takes their meaning away. */
function escape(path: string): string {
  return path.replace(/[\\:,]/g, "\\$&");
}
