import { mkdirSync, readdirSync, rmdirSync } from "node:fs";
import { join } from "node:path";
import { MS_RDONLY } from "../../src/linux/flags.ts";
import type { Kernel } from "../../src/linux/kernel.ts";
import { unmountAll } from "../../src/linux/mount/unmount.ts";
import { syscallFailure } from "../../src/linux/syscall_failure.ts";

/**
 * Where layers are mounted: once each, when one is first used, for all that stand on it, until nothing does or the daemon
 * ends. Containers that outlive the daemon keep what they have: an overlay holds its layers by itself.
 *
 * What is mounted costs every start of a container 10 µs, since its mount namespace begins as a copy. Mounts that hang on
 * descriptors alone would not, but their path, `/proc/<pid>/fd/<n>`, is `/` for all that resolve links before they mount:
 * mount(8) binds the machine's root then.
 */
export class LayerMounts {
  readonly #kernel: Kernel;
  readonly #folder: string;
  readonly #mounted = new Set<number>();
  /** Those that were asked for since the last `release`. */
  #asked = new Set<number>();

  private constructor(kernel: Kernel, folder: string) {
    this.#kernel = kernel;
    this.#folder = folder;
  }

  /** Unmounts what a process that was killed has left in the folder. */
  static open(kernel: Kernel, folder: string): LayerMounts {
    const mounts = new LayerMounts(kernel, folder);
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    for (const name of readdirSync(folder)) mounts.#unmount(join(folder, name));
    return mounts;
  }

  path(id: number): string {
    return join(this.#folder, String(id));
  }

  /** @returns whether it is mounted; it stays so until the next `release` at least. */
  use(id: number): boolean {
    this.#asked.add(id);
    return this.#mounted.has(id);
  }

  /** Mounts an image from its file; no loop device is made. @see https://docs.kernel.org/filesystems/erofs.html */
  mount(id: number, image: string): void {
    // Another caller may have been faster.
    if (this.#mounted.has(id)) return;
    const path = this.path(id);
    mkdirSync(path, { recursive: true, mode: 0o700 });
    mountImage(this.#kernel, image, path);
    this.#mounted.add(id);
  }

  unmount(id: number): void {
    if (this.#mounted.delete(id)) this.#unmount(this.path(id));
  }

  /** Unmounts all but those, and those that were asked for since the last call. */
  release(used: ReadonlySet<number>): void {
    const asked = this.#asked;
    this.#asked = new Set();
    for (const id of [...this.#mounted]) {
      if (!used.has(id) && !asked.has(id) && !this.#asked.has(id)) this.unmount(id);
    }
  }

  close(): void {
    for (const id of [...this.#mounted]) this.unmount(id);
    removeEmpty(this.#folder);
  }

  /** What is in use stays mounted for its users alone. */
  #unmount(path: string): void {
    unmountAll(this.#kernel, path);
    removeEmpty(path);
  }
}

/** Removes a folder in which nothing is. */
export function removeEmpty(path: string): void {
  try {
    rmdirSync(path);
  } catch (error) {
    const code = error instanceof Error && "code" in error ? error.code : undefined;
    if (code !== "ENOTEMPTY" && code !== "ENOENT") throw error;
  }
}

export function mountImage(kernel: Kernel, image: string, path: string): void {
  const result = kernel.attempt("mount", image, path, "erofs", MS_RDONLY, 0);
  if (result < 0) throw syscallFailure(`cannot mount the layer ${JSON.stringify(image)}`, "mount", result);
}
