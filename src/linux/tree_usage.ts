import { Files } from "./files.ts";
import type { Kernel } from "./kernel.ts";
import { Slice } from "./slice.ts";
import { isDirectory } from "./statx.ts";

/** Disk space and files of a folder and all below it; a file with many names counts once. */
export async function treeUsage(
  kernel: Kernel,
  path: string,
  signal?: AbortSignal,
): Promise<{ bytes: number; inodes: number }> {
  using files = new Files(kernel);
  const slice = new Slice(signal);
  const linked = new Set<string>();
  let [bytes, inodes] = [0, 0];

  const add = async (directory: number): Promise<void> => {
    bytes += (files.stat(directory, "")?.blocks ?? 0) * 512;
    inodes++;
    for (let entries = files.list(directory); entries !== undefined; entries = files.list(directory)) {
      for (const { name } of entries) {
        if (slice.over) await slice.next();
        const status = files.stat(directory, name);
        if (status === undefined) continue;
        if (isDirectory(status)) {
          const child = files.openDirectory(directory, name);
          try {
            await add(child);
          } finally {
            files.close(child);
          }
          continue;
        }
        if (status.links > 1) {
          if (linked.has(status.identity)) continue;
          linked.add(status.identity);
        }
        bytes += status.blocks * 512;
        inodes++;
      }
    }
  };

  const top = files.openFolder(path);
  try {
    await add(top);
  } finally {
    files.close(top);
  }
  return { bytes, inodes };
}
