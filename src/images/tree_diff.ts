import type { SnapshotFolder } from "../core/snapshotter.ts";
import type { ByteString } from "../linux/byte_string.ts";
import { Files } from "../linux/files.ts";
import type { Kernel } from "../linux/kernel.ts";
import { Slice } from "../linux/slice.ts";
import { type FileStatus, isDirectory, isRegular, isSymlink, type Timestamp } from "../linux/statx.ts";
import { Xattrs } from "../linux/xattr.ts";
import { checkDepth, joinPath } from "./entry_path.ts";
import { isWhiteout } from "./lower_layers.ts";
import { portableAttributes } from "./portable_attributes.ts";

/** What a tree has, compared with the one that it stands on. */
export interface TreeChange {
  /** Below the root; empty for the root itself. */
  readonly path: ByteString;
  /** `same` are only files with several names, since one of the others may be new. */
  readonly kind: "added" | "changed" | "deleted" | "same";
  /** The open directory that it is in, and its name there: valid until the next change is asked for. */
  readonly parent: number;
  readonly name: ByteString;
  /** Undefined for what is deleted. */
  readonly status: FileStatus | undefined;
}

/** A directory of the tree and those that it stands on, nearest first. */
interface Level {
  readonly top: number;
  readonly below: readonly number[];
  readonly path: ByteString;
  /** Whether nothing of those below shows through. */
  readonly hides: boolean;
}

const compareBytes = 64 << 10;

/**
 * Walks over a snapshot's folder and finds what differs from its parents, in the order of the names' bytes, a directory
 * before what is in it. A directory in which something has changed has itself changed.
 *
 * The tree may be in use meanwhile: what goes away under the walk is left out, and no name leads out of it.
 */
export class TreeDiff implements Disposable {
  readonly files: Files;
  readonly xattrs: Xattrs;
  readonly #folder: SnapshotFolder;
  readonly #slice: Slice;
  /** Directories on the way down of which it is not known yet whether anything in them has changed. */
  readonly #pending: TreeChange[] = [];

  constructor(kernel: Kernel, folder: SnapshotFolder, signal?: AbortSignal) {
    this.files = new Files(kernel);
    this.xattrs = new Xattrs(kernel);
    this.#folder = folder;
    this.#slice = new Slice(signal);
  }

  [Symbol.dispose](): void {
    this.xattrs[Symbol.dispose]();
    this.files[Symbol.dispose]();
  }

  async *changes(): AsyncGenerator<TreeChange> {
    const { path, below, whole } = this.#folder;
    const opened: number[] = [];
    const open = (folder: string) => {
      const fd = this.files.openFolder(folder);
      opened.push(fd);
      return fd;
    };
    try {
      const top = open(path);
      const lower: number[] = [];
      for (const folder of below) {
        lower.push(open(folder));
        if (!whole && this.#isOpaque(lower.at(-1) ?? 0)) break;
      }
      const status = this.files.stat(top, "");
      const [nearest] = lower;
      if (status !== undefined && nearest !== undefined) {
        const before = this.files.stat(nearest, "");
        // Its time says when the snapshot was made.
        const timeless = before && { ...before, modified: status.modified };
        if (timeless !== undefined && !this.#sameAttributes(top, "", status, nearest, timeless)) {
          yield { path: "", kind: "changed", parent: top, name: "", status };
        }
      }
      yield* this.#level({ top, below: lower, path: "", hides: whole || this.#isOpaque(top) });
    } finally {
      for (const fd of opened) this.files.close(fd);
    }
  }

  async *#level({ top, below, path, hides }: Level): AsyncGenerator<TreeChange> {
    const names = new Set(this.files.names(top));
    if (hides) { for (const fd of below) for (const name of this.files.names(fd)) names.add(name); }
    for (const name of [...names].sort()) {
      if (this.#slice.over) await this.#slice.next();
      const status = this.files.stat(top, name);
      const before = this.#find(below, name);
      const change = { path: joinPath(path, name), parent: top, name };
      if (status === undefined || (!this.#folder.whole && isWhiteout(status))) {
        if (before !== undefined) yield* this.#emit({ ...change, kind: "deleted", status: undefined });
      } else if (isDirectory(status)) {
        yield* this.#directory({ ...change, status }, before, below, hides);
      } else {
        const kind = before === undefined ? "added" : await this.#isSame(change, status, before) ? "same" : "changed";
        if (kind !== "same") yield* this.#emit({ ...change, kind, status });
        else if (status.links > 1) yield { ...change, kind, status };
      }
    }
  }

  async *#directory(
    change: Omit<TreeChange, "kind"> & { readonly status: FileStatus },
    before: Found | undefined,
    below: readonly number[],
    hides: boolean,
  ): AsyncGenerator<TreeChange> {
    const { parent, name, path, status } = change;
    checkDepth(path.split("/").length, path);
    const top = this.files.tryOpenDirectory(parent, name);
    if (top < 0) return;
    const lower = this.#descend(below, name);
    try {
      if (before === undefined) yield* this.#emit({ ...change, kind: "added" });
      else if (isDirectory(before.status) && this.#sameAttributes(parent, name, status, before.parent, before.status)) {
        this.#pending.push({ ...change, kind: "changed" });
      } else yield* this.#emit({ ...change, kind: "changed" });
      yield* this.#level({ top, below: lower, path, hides: hides || this.#isOpaque(top) });
      if (this.#pending.at(-1)?.path === path) this.#pending.pop();
    } finally {
      for (const fd of [top, ...lower]) this.files.close(fd);
    }
  }

  *#emit(change: TreeChange): Generator<TreeChange> {
    yield* this.#pending.splice(0);
    yield change;
  }

  /** What shows at a name of the trees below. */
  #find(below: readonly number[], name: ByteString): Found | undefined {
    for (const parent of below) {
      const status = this.files.stat(parent, name);
      if (status === undefined) continue;
      return !this.#folder.whole && isWhiteout(status) ? undefined : { parent, name, status };
    }
    return undefined;
  }

  /** The directories of that name which are stacked below, opened. */
  #descend(below: readonly number[], name: ByteString): number[] {
    const opened: number[] = [];
    for (const parent of below) {
      const status = this.files.stat(parent, name);
      if (status === undefined) continue;
      if (!isDirectory(status)) break;
      const fd = this.files.openDirectory(parent, name);
      opened.push(fd);
      if (this.#isOpaque(fd)) break;
    }
    return opened;
  }

  /** In a layer of an overlay everything has been changed: it is there because of that. */
  async #isSame({ parent, name }: Pick<TreeChange, "parent" | "name">, status: FileStatus, before: Found) {
    if (!this.#folder.whole) return false;
    if (status.size !== before.status.size || !sameDevice(status, before.status)) return false;
    if (!this.#sameAttributes(parent, name, status, before.parent, before.status)) return false;
    if (isSymlink(status)) return this.files.tryReadLink(parent, name) === this.files.tryReadLink(before.parent, name);
    if (!isRegular(status)) return true;
    const untouched = status.inode === before.status.inode &&
      sameTime(status.statusChanged, before.status.statusChanged);
    // A program may have set the time back; those of archives are whole seconds, so only then it is likely to have.
    if (untouched || status.modified.nanoseconds !== 0) return true;
    return await this.#sameContent(parent, name, before.parent);
  }

  #sameAttributes(
    parent: number,
    name: ByteString,
    status: FileStatus,
    beforeParent: number,
    before: FileStatus,
  ): boolean {
    if (status.mode !== before.mode || status.uid !== before.uid || status.gid !== before.gid) return false;
    return sameTime(status.modified, before.modified) &&
      this.#attributes(parent, name) === this.#attributes(beforeParent, name);
  }

  #attributes(parent: number, name: ByteString): string {
    const lines: string[] = [];
    for (const [attribute, value] of portableAttributes(this.xattrs, parent, name)) {
      lines.push(`${attribute}=${value.join()}`);
    }
    return lines.join("\n");
  }

  async #sameContent(parent: number, name: ByteString, beforeParent: number): Promise<boolean> {
    const [mine, theirs] = [this.files.openRegular(parent, name), this.files.openRegular(beforeParent, name)];
    try {
      if (mine === undefined || theirs === undefined) return false;
      for (;;) {
        if (this.#slice.over) await this.#slice.next();
        const piece = this.files.read(mine, compareBytes).slice();
        const other = this.files.read(theirs, compareBytes);
        if (piece.length !== other.length || piece.some((byte, i) => byte !== other[i])) return false;
        if (piece.length === 0) return true;
      }
    } finally {
      for (const fd of [mine, theirs]) if (fd !== undefined) this.files.close(fd);
    }
  }

  #isOpaque(fd: number): boolean {
    return !this.#folder.whole && this.xattrs.get(fd, "", this.xattrs.opaque)?.[0] === 0x79;
  }
}

interface Found {
  readonly parent: number;
  readonly name: ByteString;
  readonly status: FileStatus;
}

function sameTime(a: Timestamp, b: Timestamp): boolean {
  return a.seconds === b.seconds && a.nanoseconds === b.nanoseconds;
}

function sameDevice({ rdev: a }: FileStatus, { rdev: b }: FileStatus): boolean {
  return a.major === b.major && a.minor === b.minor;
}
