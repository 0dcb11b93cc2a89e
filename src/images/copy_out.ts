import { Failure } from "../core/errors.ts";
import type { IdRange } from "../core/id_range.ts";
import { type ByteString, fromText, toText } from "../linux/byte_string.ts";
import { Files } from "../linux/files.ts";
import { CGROUP2_SUPER_MAGIC, CGROUP_SUPER_MAGIC, PROC_SUPER_MAGIC, SYSFS_MAGIC } from "../linux/flags.ts";
import type { Kernel } from "../linux/kernel.ts";
import { Slice } from "../linux/slice.ts";
import { type FileStatus, isDirectory, isSymlink, type Timestamp } from "../linux/statx.ts";
import { Xattrs } from "../linux/xattr.ts";
import { archiveNode } from "./archive_node.ts";
import { checkDepth, joinPath } from "./entry_path.ts";
import { archiveName, findInRoot } from "./rooted_path.ts";
import { tarEnd } from "./tar_writer.ts";

/** What is said of a file in a container. */
export interface FileDescription {
  readonly name: string;
  readonly sizeBytes: number;
  /** Type and permission bits, as `st_mode` has them. */
  readonly mode: number;
  readonly modified: Timestamp;
  /** Of a symbolic link: what it says. */
  readonly linkTarget: string | undefined;
}

/** Filesystems whose files are the kernel's words: they have no size, or no end. */
const kernelsOwn: ReadonlySet<number> = new Set([
  PROC_SUPER_MAGIC,
  SYSFS_MAGIC,
  CGROUP_SUPER_MAGIC,
  CGROUP2_SUPER_MAGIC,
]);

/**
 * Describes a file. @param root an open folder that is `/`. @throws as `findInRoot`.
 */
export function describeFile(kernel: Kernel, root: number, path: string): FileDescription {
  using files = new Files(kernel);
  const { parent, name, status } = findInRoot({ kernel, files }, root, path);
  try {
    const target = isSymlink(status) ? files.tryReadLink(parent, name) : undefined;
    return {
      name: archiveName(path),
      sizeBytes: status.size,
      mode: status.mode,
      modified: status.modified,
      linkTarget: target === undefined ? undefined : toText(target),
    };
  } finally {
    files.close(parent);
  }
}

export interface CopyOutOptions {
  readonly signal?: AbortSignal | undefined;
  /** Ids of the host that are other ones in the archive: `first` is 0. Ids beyond them belong to nobody there. */
  readonly ids?: IdRange | undefined;
}

/** The id of who is not there, as the kernel shows it. */
const nobody = 65_534;

/**
 * A file of a container, or a folder and all below it, as a tar archive whose top has the last part of the path for its
 * name. A path that ends in `/.` stands for what is in a folder. A symbolic link is archived as such; other filesystems that
 * are mounted in the folder belong to it, but for the kernel's own (`/proc`, `/sys`), which are empty folders.
 *
 * @param root an open folder that is `/`; it stays open until the last byte.
 * @throws before the first byte: as `findInRoot`; failed_precondition for the kernel's own files.
 */
export async function copyOut(
  kernel: Kernel,
  root: number,
  path: string,
  options: CopyOutOptions = {},
): Promise<AsyncIterable<Uint8Array<ArrayBuffer>>> {
  const archive = new FolderArchive(kernel, options);
  try {
    const bytes = archive.write(root, path);
    const first = await bytes.next();
    return rest(first, bytes, archive);
  } catch (error) {
    archive[Symbol.dispose]();
    throw error;
  }
}

async function* rest<T>(
  first: IteratorResult<T, void>,
  others: AsyncGenerator<T>,
  owned: Disposable,
): AsyncGenerator<T> {
  using _owned = owned;
  try {
    if (first.done !== true) yield first.value;
    yield* others;
  } finally {
    await others.return(undefined);
  }
}

interface Node {
  readonly parent: number;
  readonly name: ByteString;
  readonly status: FileStatus;
  /** In the archive. */
  readonly path: ByteString;
  /** How many folders it is below the first one. */
  readonly depth: number;
}

class FolderArchive implements Disposable {
  readonly #kernel: Kernel;
  readonly #files: Files;
  readonly #xattrs: Xattrs;
  readonly #slice: Slice;
  readonly #ids: IdRange | undefined;
  /** The first name of each file that has several. */
  readonly #linked = new Map<string, ByteString>();

  constructor(kernel: Kernel, { signal, ids }: CopyOutOptions) {
    this.#ids = ids;
    this.#kernel = kernel;
    this.#files = new Files(kernel);
    this.#xattrs = new Xattrs(kernel);
    this.#slice = new Slice(signal);
  }

  [Symbol.dispose](): void {
    this.#xattrs[Symbol.dispose]();
    this.#files[Symbol.dispose]();
  }

  async *write(root: number, path: string): AsyncGenerator<Uint8Array<ArrayBuffer>> {
    const { parent, name, status } = findInRoot({ kernel: this.#kernel, files: this.#files }, root, path);
    try {
      if (this.#isKernels(parent)) {
        throw new Failure(
          "failed_precondition",
          `cannot copy ${JSON.stringify(path)}: it is one of the kernel's own files: read it in the container (exec)`,
        );
      }
      yield* this.#node({ parent, name, status, path: fromText(archiveName(path)), depth: 0 });
    } finally {
      this.#files.close(parent);
    }
    yield tarEnd;
  }

  async *#node({ parent, name, status, path, depth }: Node): AsyncGenerator<Uint8Array<ArrayBuffer>> {
    if (this.#slice.over) await this.#slice.next();
    const hardlink = isDirectory(status) ? undefined : this.#linked.get(status.identity);
    if (status.links > 1 && !isDirectory(status) && hardlink === undefined) this.#linked.set(status.identity, path);
    const parts = { files: this.#files, xattrs: this.#xattrs, slice: this.#slice };
    yield* archiveNode(parts, { path, parent, name, status: this.#owned(status), hardlink });
    if (!isDirectory(status)) return;
    checkDepth(depth, path);
    const fd = name === "" ? this.#files.openDirectory(parent, ".") : this.#files.tryOpenDirectory(parent, name);
    if (fd < 0) return;
    try {
      if (this.#isKernels(fd)) return;
      for (const name of this.#files.names(fd).sort()) {
        const status = this.#files.stat(fd, name);
        if (status === undefined) continue;
        yield* this.#node({
          parent: fd,
          name,
          status,
          path: path === "." ? name : joinPath(path, name),
          depth: depth + 1,
        });
      }
    } finally {
      this.#files.close(fd);
    }
  }

  #owned(status: FileStatus): FileStatus {
    const ids = this.#ids;
    if (ids === undefined) return status;
    const inside = (id: number) => id >= ids.first && id < ids.first + ids.size ? id - ids.first : nobody;
    return { ...status, uid: inside(status.uid), gid: inside(status.gid) };
  }

  #isKernels(fd: number): boolean {
    return kernelsOwn.has(this.#files.filesystem(fd));
  }
}
