import { mkdirSync, readdirSync, rmdirSync } from "node:fs";
import { join } from "node:path";
import type { Mount } from "../core/mount.ts";
import { AT_FDCWD, MOVE_MOUNT_F_EMPTY_PATH } from "../linux/flags.ts";
import type { Kernel } from "../linux/kernel.ts";
import { openDetached } from "../linux/mount/detached.ts";
import { pathInVolume } from "./path_in_volume.ts";
import { unmountAll } from "../linux/mount/unmount.ts";

/** An image's files, in a folder of the machine. */
export interface VolumeFolder extends Disposable {
  readonly path: string;
}

/**
 * Where images are that containers see beside their own: each is mounted once for all of them, while somebody has it. They get
 * it by a bind mount, which every runtime can make.
 */
export class VolumeFolders implements Disposable {
  readonly #kernel: Kernel;
  readonly #path: string;
  readonly #shown = new Map<string, { readonly path: string; users: number }>();
  #made = 0;

  /** Removes what a process that was killed has left. @param path where they are mounted; its parent is there. */
  constructor(kernel: Kernel, path: string) {
    this.#kernel = kernel;
    this.#path = path;
    this.#removeAll();
  }

  /**
   * Shows a view of a snapshotter.
   * @param key the same for the same view.
   */
  show(key: string, view: readonly Mount[]): VolumeFolder {
    const [mount] = view;
    // One layer alone is a folder already.
    if (view.length === 1 && mount?.type === "bind") return { path: mount.source, [Symbol.dispose]() {} };
    const shown = this.#shown.get(key) ?? { path: this.#mount(view), users: 0 };
    this.#shown.set(key, shown);
    shown.users++;
    return {
      path: shown.path,
      [Symbol.dispose]: () => {
        if (--shown.users > 0) return;
        this.#shown.delete(key);
        this.#remove(shown.path);
      },
    };
  }

  /** A file or folder of one that is shown. @throws as `pathInVolume`. */
  within(volume: string, subpath: string, source: string): string {
    return pathInVolume(this.#kernel, volume, subpath, source);
  }

  [Symbol.dispose](): void {
    this.#shown.clear();
    this.#removeAll();
  }

  #mount(view: readonly Mount[]): string {
    const path = join(this.#path, String(++this.#made));
    mkdirSync(path, { recursive: true, mode: 0o700 });
    const fd = openDetached(this.#kernel, view);
    try {
      this.#kernel.call("move_mount", fd, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH);
    } catch (error) {
      rmdirSync(path);
      throw error;
    } finally {
      this.#kernel.call("close", fd);
    }
    return path;
  }

  #remove(path: string): void {
    unmountAll(this.#kernel, path);
    rmdirSync(path);
  }

  #removeAll(): void {
    let names: string[];
    try {
      names = readdirSync(this.#path);
    } catch {
      // Nobody has mounted any.
      return;
    }
    for (const name of names) this.#remove(join(this.#path, name));
    rmdirSync(this.#path);
  }
}
