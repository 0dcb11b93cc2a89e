import type { Rootfs } from "../core/mount.ts";
import type { Snapshotter } from "../core/snapshotter.ts";

export interface RootfsOptions {
  /**
   * Whether what the container writes is kept until its snapshot is removed: only then can its changes be listed, committed
   * and copied when it has stopped. Default false.
   */
  readonly keep?: boolean | undefined;
  /** The size of the writable layer where it is in memory. Default 64 MiB. */
  readonly scratchBytes?: number | undefined;
}

const defaultScratchBytes = 64 * 1024 * 1024;

/**
 * Makes a container's root filesystem: over a view with a writable layer in memory, where the snapshotter's views allow one
 * and nothing is to be kept; else an active snapshot, whose changes are on disk.
 * @param key of the new snapshot; the caller removes it.
 * @param chain the image's top layer, committed in the snapshotter.
 * @throws as `Snapshotter.prepare`.
 */
export async function prepareRootfs(
  snapshotter: Snapshotter,
  key: string,
  chain: string,
  { keep = false, scratchBytes = defaultScratchBytes }: RootfsOptions = {},
): Promise<Rootfs> {
  if (keep || !snapshotter.scratch) return { mounts: await snapshotter.prepare(key, chain) };
  return { mounts: await snapshotter.view(key, chain), scratch: { sizeBytes: scratchBytes } };
}
