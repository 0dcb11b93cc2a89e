import type { ByteString } from "../linux/byte_string.ts";
import type { Files } from "../linux/files.ts";
import { S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG } from "../linux/flags.ts";
import type { Slice } from "../linux/slice.ts";
import type { FileStatus } from "../linux/statx.ts";
import type { Xattrs } from "../linux/xattr.ts";
import { portableAttributes } from "./portable_attributes.ts";
import type { TarEntry, TarEntryType } from "./tar_header.ts";
import { tarHeader, tarPadding } from "./tar_writer.ts";

const pieceBytes = 256 << 10;
/** Larger attributes are read by no one, this program included. */
const maxAttributesBytes = 1 << 20;

const types: Readonly<Record<number, TarEntryType>> = {
  [S_IFREG]: "file",
  [S_IFDIR]: "directory",
  [S_IFLNK]: "symlink",
  [S_IFCHR]: "character",
  [S_IFBLK]: "block",
  [S_IFIFO]: "fifo",
};

/** A file to be archived. */
export interface ArchiveNode {
  /** Its path in the archive. */
  readonly path: ByteString;
  /** The open directory that it is in, and its name there. */
  readonly parent: number;
  readonly name: ByteString;
  readonly status: FileStatus;
  /** A path in the archive, or below it, that is another name of the same file. */
  readonly hardlink?: ByteString | undefined;
}

/**
 * The entry of a file, with its content. What an archive cannot hold (a socket), and what is gone by now, gives nothing. A
 * file that grows or shrinks under the reading has the size that it had when it was opened.
 */
export async function* archiveNode(
  { files, xattrs, slice }: { readonly files: Files; readonly xattrs: Xattrs; readonly slice: Slice },
  { path, parent, name, status, hardlink }: ArchiveNode,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const type = types[status.mode & S_IFMT];
  if (type === undefined) return;
  const entry = {
    type,
    path,
    link: "",
    size: 0,
    mode: status.mode & 0o7777,
    uid: status.uid,
    gid: status.gid,
    modified: status.modified,
    device: type === "character" || type === "block" ? status.rdev : { major: 0, minor: 0 },
    attributes: new Map(),
  } satisfies TarEntry;
  if (hardlink !== undefined) {
    yield* tarHeader({ ...entry, type: "hardlink", link: hardlink });
    return;
  }
  const attributes = limited(portableAttributes(xattrs, parent, name));
  if (type === "symlink") {
    const link = files.tryReadLink(parent, name);
    if (link !== undefined) yield* tarHeader({ ...entry, link, attributes });
    return;
  }
  if (type !== "file") {
    yield* tarHeader({ ...entry, attributes });
    return;
  }
  const fd = files.openRegular(parent, name);
  if (fd === undefined) return;
  try {
    const { size, modified } = files.stat(fd, "") ?? status;
    yield* tarHeader({ ...entry, size, modified, attributes });
    for (let left = size; left > 0;) {
      if (slice.over) await slice.next();
      const piece = files.read(fd, Math.min(left, pieceBytes)).slice();
      const bytes = piece.length > 0 ? piece : new Uint8Array(Math.min(left, pieceBytes));
      left -= bytes.length;
      yield bytes;
    }
    if (size % 512 !== 0) yield tarPadding(size);
  } finally {
    files.close(fd);
  }
}

/** Leaves out the attributes past what an extended header may have. */
function limited(
  attributes: ReadonlyMap<ByteString, Uint8Array<ArrayBuffer>>,
): ReadonlyMap<ByteString, Uint8Array<ArrayBuffer>> {
  let total = 0;
  return new Map([...attributes].filter(([name, value]) => (total += name.length + value.length) < maxAttributesBytes));
}
