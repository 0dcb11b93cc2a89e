import type { ByteString } from "../linux/byte_string.ts";
import { Files } from "../linux/files.ts";
import type { Kernel } from "../linux/kernel.ts";
import { Slice } from "../linux/slice.ts";
import { Budget, defaultLimits, type UnpackLimits } from "./budget.ts";
import { entryPath, joinPath } from "./entry_path.ts";
import { inflate } from "./inflate.ts";
import { LayerFolder } from "./layer_folder.ts";
import { openFolderInRoot } from "./rooted_path.ts";
import type { TarEntry } from "./tar_header.ts";
import { TarReader } from "./tar_reader.ts";

export interface CopyInOptions {
  /** Whether a folder may become a file, and a file a folder. Default true. */
  readonly replace?: boolean | undefined;
  /** Who owns what is copied. Default: as the archive says. */
  readonly owner?: { readonly uid: number; readonly gid: number } | undefined;
  readonly limits?: UnpackLimits | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Unpacks a tar archive (plain, gzip or zstd) into a folder of a container. What was unpacked stays where it fails on the way.
 *
 * No entry gets out: names with `..` that leave the folder are refused, and symbolic links, of the archive or of the
 * container, are followed with the container's root as `/`.
 * @param root an open folder that is `/`.
 * @param path a folder that is there.
 * @throws not_found; invalid_argument when it is no folder, for what is no archive, and for entries that climb out;
 * already_exists where a folder would become a file or the other way round and may not; data_loss when it is cut short;
 * resource_exhausted past the limits.
 */
export async function copyIn(
  kernel: Kernel,
  root: number,
  path: string,
  archive: AsyncIterable<Uint8Array>,
  { replace = true, owner, limits = defaultLimits, signal }: CopyInOptions = {},
): Promise<void> {
  using files = new Files(kernel);
  const below = realPath(kernel, files, root, path);
  const budget = new Budget(limits);
  using folder = new LayerFolder(kernel, { path: root, whole: true, plain: true, replace, below: [], budget });
  const placed = (entry: TarEntry): TarEntry => ({
    ...entry,
    ...owner,
    path: joinPath(below, entryPath(entry.path)),
    link: entry.type === "hardlink" ? joinPath(below, entryPath(entry.link)) : entry.link,
  });
  const reader = new TarReader();
  const slice = new Slice(signal);
  for await (const chunk of inflate(archive)) {
    budget.bytes(chunk.length);
    reader.feed(chunk);
    for (let event = reader.next(); event !== undefined; event = reader.next()) {
      // The folder itself keeps its attributes: it was there before.
      if (event.kind === "entry" && entryPath(event.entry.path) === "" && event.entry.type === "directory") continue;
      if (event.kind === "entry") await folder.add(placed(event.entry));
      else if (event.kind === "data") folder.write(event);
      if (slice.over) await slice.next();
    }
  }
  reader.end();
  await folder.finish(slice);
}

/** The path of a folder below the root, without links. */
function realPath(kernel: Kernel, files: Files, root: number, path: string): ByteString {
  const fd = openFolderInRoot({ kernel, files }, root, path);
  try {
    return files.pathBelow(root, fd);
  } finally {
    files.close(fd);
  }
}
