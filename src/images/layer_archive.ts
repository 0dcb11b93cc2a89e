import type { SnapshotFolder } from "../core/snapshotter.ts";
import type { ByteString } from "../linux/byte_string.ts";
import type { Kernel } from "../linux/kernel.ts";
import { Slice } from "../linux/slice.ts";
import { isDirectory } from "../linux/statx.ts";
import { type ArchiveNode, archiveNode } from "./archive_node.ts";
import { joinPath, splitPath } from "./entry_path.ts";
import type { TarEntry } from "./tar_header.ts";
import { tarEnd, tarHeader } from "./tar_writer.ts";
import { TreeDiff } from "./tree_diff.ts";

const whiteout: Omit<TarEntry, "path"> = {
  type: "file",
  link: "",
  size: 0,
  mode: 0,
  uid: 0,
  gid: 0,
  modified: { seconds: 0, nanoseconds: 0 },
  device: { major: 0, minor: 0 },
  attributes: new Map(),
};

/** A file with several names. */
interface Linked {
  /** The name that was seen first: the others become links to it. */
  readonly first: ByteString;
  /** Whether the archive has one of its names. */
  archived: boolean;
  /** Names that it has not. */
  readonly waiting: ArchiveNode[];
}

/**
 * What a snapshot changes of its parents, as a layer: a tar archive with a whiteout for each file that is gone, explicit
 * ones alone, as the specification recommends. The same changes give the same bytes, whichever snapshotter holds them.
 * @see https://github.com/opencontainers/image-spec/blob/v1.1.0/layer.md
 */
export async function* layerArchive(
  kernel: Kernel,
  folder: SnapshotFolder,
  signal?: AbortSignal,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  using diff = new TreeDiff(kernel, folder, signal);
  const parts = { files: diff.files, xattrs: diff.xattrs, slice: new Slice(signal) };
  const linked = new Map<string, Linked>();
  for await (const { path, kind, parent, name, status } of diff.changes()) {
    if (status === undefined) {
      const [folder, base] = splitPath(path);
      yield* tarHeader({ ...whiteout, path: joinPath(folder, `.wh.${base}`) });
      continue;
    }
    const node = { path: path === "" ? "." : path, parent, name, status };
    if (status.links === 1 || isDirectory(status)) {
      yield* archiveNode(parts, node);
      continue;
    }
    const known = linked.get(status.identity);
    const file = known ?? { first: path, archived: false, waiting: [] };
    if (known === undefined) linked.set(status.identity, file);
    const link = known === undefined ? node : { ...node, hardlink: file.first };
    // Names that are as they were are told of only where another of the same file is new: they have to stay one file.
    if (kind === "same" && !file.archived) {
      if (known !== undefined) file.waiting.push(link);
      continue;
    }
    file.archived = true;
    for (const each of [...file.waiting.splice(0), link]) yield* archiveNode(parts, each);
  }
  yield tarEnd;
}
