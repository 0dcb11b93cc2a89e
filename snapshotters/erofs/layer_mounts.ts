import { mkdir, readdir, rmdir } from "node:fs/promises";
import { join } from "node:path";
import { errno } from "../../src/linux/errno.ts";
import { MNT_DETACH, MS_RDONLY, UMOUNT_NOFOLLOW } from "../../src/linux/flags.ts";
import type { Kernel } from "../../src/linux/kernel.ts";
import { syscallFailure } from "../../src/linux/syscall_failure.ts";

/**
 * Where layers are mounted: once each, when one is first used, for all that stand on it, until it is removed or the daemon
 * ends. Containers that outlive the daemon keep what they have: an overlay holds its layers by itself.
 */
export class LayerMounts {
  readonly #kernel: Kernel;
  readonly #folder: string;
  readonly #mounted = new Set<number>();

  private constructor(kernel: Kernel, folder: string) {
    this.#kernel = kernel;
    this.#folder = folder;
  }

  /** Unmounts what a process that was killed has left in the folder. */
  static async open(kernel: Kernel, folder: string): Promise<LayerMounts> {
    const mounts = new LayerMounts(kernel, folder);
    await mkdir(folder, { recursive: true, mode: 0o700 });
    for (const name of await readdir(folder)) await mounts.#unmount(join(folder, name));
    return mounts;
  }

  path(id: number): string {
    return join(this.#folder, String(id));
  }

  has(id: number): boolean {
    return this.#mounted.has(id);
  }

  /** Mounts an image from its file; no loop device is made. @see https://docs.kernel.org/filesystems/erofs.html */
  async mount(id: number, image: string): Promise<void> {
    const path = this.path(id);
    await mkdir(path, { recursive: true, mode: 0o700 });
    // Another caller may have been faster.
    if (this.#mounted.has(id)) return;
    mountImage(this.#kernel, image, path);
    this.#mounted.add(id);
  }

  async unmount(id: number): Promise<void> {
    if (this.#mounted.delete(id)) await this.#unmount(this.path(id));
  }

  async close(): Promise<void> {
    for (const id of [...this.#mounted]) await this.unmount(id);
    await removeEmpty(this.#folder);
  }

  /** What is in use stays mounted for its users alone. */
  async #unmount(path: string): Promise<void> {
    unmountAll(this.#kernel, path);
    await removeEmpty(path);
  }
}

/** Removes a folder in which nothing is. */
export async function removeEmpty(path: string): Promise<void> {
  try {
    await rmdir(path);
  } catch (error) {
    const code = error instanceof Error && "code" in error ? error.code : undefined;
    if (code !== "ENOTEMPTY" && code !== "ENOENT") throw error;
  }
}

export function mountImage(kernel: Kernel, image: string, path: string): void {
  const result = kernel.attempt("mount", image, path, "erofs", MS_RDONLY, 0);
  if (result < 0) throw syscallFailure(`cannot mount the layer ${JSON.stringify(image)}`, "mount", result);
}

/** Unmounts whatever is mounted at a path. */
export function unmountAll(kernel: Kernel, path: string): void {
  for (;;) {
    const result = kernel.attempt("umount2", path, MNT_DETACH | UMOUNT_NOFOLLOW);
    // Nothing is mounted there.
    if (result === -errno.EINVAL || result === -errno.ENOENT) return;
    if (result < 0) throw syscallFailure(`cannot unmount the layer at ${JSON.stringify(path)}`, "umount2", result);
  }
}
