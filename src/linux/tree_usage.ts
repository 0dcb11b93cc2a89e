import type { SnapshotUsage } from "../core/snapshotter.ts";
import { Files } from "./files.ts";
import type { Kernel } from "./kernel.ts";
import { Slice } from "./slice.ts";
import { type FileStatus, isDirectory } from "./statx.ts";

export interface TreeUsageOptions {
  /**
   * A tree of which this one is a snapshot of the filesystem's own: files that are the same inode there, unchanged, are not
   * counted. The folder itself always is.
   */
  readonly parent?: string | undefined;
  readonly signal?: AbortSignal;
}

/** Disk space and files of a folder and all below it; a file with many names counts once. */
export async function treeUsage(
  kernel: Kernel,
  path: string,
  { parent, signal }: TreeUsageOptions = {},
): Promise<SnapshotUsage> {
  using files = new Files(kernel);
  const slice = new Slice(signal);
  const linked = new Set<string>();
  let [bytes, inodes] = [0, 0];

  const count = ({ blocks }: FileStatus) => {
    bytes += blocks * 512;
    inodes++;
  };
  const add = async (directory: number, before: number | undefined): Promise<void> => {
    for (let entries = files.list(directory); entries !== undefined; entries = files.list(directory)) {
      for (const { name } of entries) {
        if (slice.over) await slice.next();
        const status = files.stat(directory, name);
        if (status === undefined) continue;
        const shared = before === undefined ? undefined : files.stat(before, name);
        const same = shared !== undefined && isUntouched(status, shared);
        if (isDirectory(status)) {
          if (!same) count(status);
          const child = files.openDirectory(directory, name);
          const other = before !== undefined && shared !== undefined ? files.tryOpenDirectory(before, name) : -1;
          try {
            await add(child, other < 0 ? undefined : other);
          } finally {
            files.close(child);
            if (other >= 0) files.close(other);
          }
          continue;
        }
        if (same) continue;
        if (status.links > 1) {
          if (linked.has(status.identity)) continue;
          linked.add(status.identity);
        }
        count(status);
      }
    }
  };

  const top = files.openFolder(path);
  const before = parent === undefined ? undefined : files.openFolder(parent);
  try {
    const status = files.stat(top, "");
    if (status !== undefined) count(status);
    await add(top, before);
  } finally {
    files.close(top);
    if (before !== undefined) files.close(before);
  }
  return { bytes, inodes };
}

function isUntouched(a: FileStatus, b: FileStatus): boolean {
  return a.inode === b.inode && a.statusChanged.seconds === b.statusChanged.seconds &&
    a.statusChanged.nanoseconds === b.statusChanged.nanoseconds;
}
