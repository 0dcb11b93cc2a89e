import { Failure } from "../core/errors.ts";
import { type ByteString, fromText, toBytes, toText } from "./byte_string.ts";
import { errno } from "./errno.ts";
import { Files } from "./files.ts";
import type { Kernel } from "./kernel.ts";
import { isDirectory } from "./statx.ts";
import { syscallFailure } from "./syscall_failure.ts";

/** Every argument of these calls has one page. */
const pageBytes = 4096;
const pageBits = pageBytes * 0x1_0000;
const write = 0x4000_9400;
const read = 0x8000_9400;
const both = 0xc000_9400;

/** @see https://btrfs.readthedocs.io/en/latest/btrfs-ioctl.html */
const request = {
  snapDestroy: write + pageBits + 15,
  treeSearch: both + pageBits + 17,
  inoLookup: both + pageBits + 18,
  snapCreate: write + pageBits + 23,
  subvolCreate: write + pageBits + 24,
  getFlags: read + 8 * 0x1_0000 + 25,
  setFlags: write + 8 * 0x1_0000 + 26,
} as const;

const readOnlyFlag = 2;
/** The inode of the root of each subvolume. */
const rootInode = 256n;
const longestName = 255;

const quotaTree = 8n;
const statusItem = 240;
const infoItem = 242;
const statusInconsistent = 4n;

/** Subvolumes and snapshots of btrfs, by the kernel's own calls: no program is needed. */
export class Btrfs implements Disposable {
  readonly #kernel: Kernel;
  readonly #files: Files;
  readonly #page: ReturnType<Kernel["host"]["map"]>;

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
    this.#files = new Files(kernel);
    this.#page = kernel.host.map(pageBytes);
  }

  [Symbol.dispose](): void {
    this.#page.release();
    this.#files[Symbol.dispose]();
  }

  /** Makes an empty subvolume in a folder. @throws already_exists; what else the kernel says. */
  create(folder: string, name: string): void {
    this.#in(folder, (fd) => {
      const result = this.#ioctl(fd, request.subvolCreate, this.#volume(0, name));
      if (result < 0) throw syscallFailure(`cannot create subvolume ${JSON.stringify(name)}`, "ioctl", result);
    });
  }

  /** Makes a writable snapshot of a subvolume. @throws already_exists; what else the kernel says. */
  snapshot(source: string, folder: string, name: string): void {
    this.#in(source, (from) =>
      this.#in(folder, (fd) => {
        const result = this.#ioctl(fd, request.snapCreate, this.#volume(from, name));
        if (result < 0) throw syscallFailure(`cannot make a snapshot of ${JSON.stringify(source)}`, "ioctl", result);
      }));
  }

  /** Keeps a subvolume from being written, or lets it be. Where nothing is, nothing is done. */
  setReadOnly(path: string, readOnly: boolean): void {
    let fd: number;
    try {
      fd = this.#files.openFolder(path);
    } catch (error) {
      if (error instanceof Failure && error.errno === "ENOENT") return;
      throw error;
    }
    try {
      this.#setReadOnly(fd, readOnly);
    } finally {
      this.#files.close(fd);
    }
  }

  /**
   * Removes the subvolumes that are in a folder, with those that are in them (any program in a container may make some).
   * Other things in the folder stay.
   */
  destroyIn(folder: string): void {
    let fd: number;
    try {
      fd = this.#files.openFolder(folder);
    } catch (error) {
      if (error instanceof Failure && error.errno === "ENOENT") return;
      throw error;
    }
    try {
      this.#destroyBelow(fd);
    } finally {
      this.#files.close(fd);
    }
  }

  /**
   * The bytes that a subvolume shares with no other, as its quota group counts them: those of the filesystem's last commit,
   * up to half a minute ago.
   * @returns undefined where quotas are off, or do not know.
   */
  exclusiveBytes(path: string): number | undefined {
    return this.#in(path, (fd) => {
      const status = this.#quotaItem(fd, statusItem, 0n, 0n);
      if (status === undefined || (status.getBigUint64(16, true) & statusInconsistent) !== 0n) return undefined;
      const id = this.#subvolumeId(fd);
      const info = this.#quotaItem(fd, infoItem, 0n, id);
      return info === undefined ? undefined : Number(info.getBigUint64(24, true));
    });
  }

  #destroyBelow(fd: number): void {
    const files = this.#files;
    for (const name of files.names(fd)) {
      const status = files.stat(fd, name);
      if (status === undefined || !isDirectory(status)) continue;
      if (status.inode === rootInode) this.#destroy(fd, name);
      else this.#below(fd, name, (child) => this.#destroyBelow(child));
    }
  }

  #destroy(parent: number, name: ByteString): void {
    const attempt = () => this.#ioctl(parent, request.snapDestroy, this.#name(8, name));
    let result = attempt();
    if (result === -errno.ENOTEMPTY) {
      this.#below(parent, name, (fd) => {
        // Of what is read-only nothing can be taken out.
        this.#setReadOnly(fd, false);
        this.#destroyBelow(fd);
      });
      result = attempt();
    }
    if (result >= 0 || result === -errno.ENOENT) return;
    const cure = result === -errno.EBUSY ? " (something is mounted there)" : "";
    throw syscallFailure(`cannot remove subvolume ${JSON.stringify(toText(name))}${cure}`, "ioctl", result);
  }

  #setReadOnly(fd: number, readOnly: boolean): void {
    const view = this.#view();
    const got = this.#kernel.attempt("ioctl", fd, request.getFlags, this.#page.address);
    if (got < 0) throw syscallFailure("cannot read the flags of a subvolume", "ioctl", got);
    const flags = view.getUint32(0, true);
    const wanted = readOnly ? flags | readOnlyFlag : flags & ~readOnlyFlag;
    if (wanted === flags) return;
    view.setUint32(0, wanted, true);
    const set = this.#kernel.attempt("ioctl", fd, request.setFlags, this.#page.address);
    if (set < 0) throw syscallFailure("cannot set the flags of a subvolume", "ioctl", set);
  }

  #subvolumeId(fd: number): bigint {
    this.#page.bytes.fill(0);
    this.#view().setBigUint64(8, rootInode, true);
    const result = this.#kernel.attempt("ioctl", fd, request.inoLookup, this.#page.address);
    if (result < 0) throw syscallFailure("cannot look up the id of a subvolume", "ioctl", result);
    return this.#view().getBigUint64(0, true);
  }

  /** One item of the quota tree. @returns undefined where it is not there, or there are no quotas. */
  #quotaItem(fd: number, type: number, objectId: bigint, offset: bigint): DataView | undefined {
    this.#page.bytes.fill(0);
    const view = this.#view();
    // struct btrfs_ioctl_search_key: tree, objectid from and to, offset from and to, transid from and to, type from and to.
    const words = [quotaTree, objectId, objectId, offset, offset, 0n, 0xffff_ffff_ffff_ffffn];
    for (const [index, word] of words.entries()) view.setBigUint64(index * 8, word, true);
    for (const [index, word] of [type, type, 1].entries()) view.setUint32(56 + index * 4, word, true);
    const result = this.#kernel.attempt("ioctl", fd, request.treeSearch, this.#page.address);
    if (result === -errno.ENOENT) return undefined;
    if (result < 0) throw syscallFailure("cannot read the quota groups", "ioctl", result);
    if (view.getUint32(64, true) === 0) return undefined;
    // The items begin behind the key, each with a header.
    const [header, item] = [104, 104 + 32];
    return new DataView(view.buffer, view.byteOffset + item, view.getUint32(header + 28, true));
  }

  /** struct btrfs_ioctl_vol_args_v2. */
  #volume(fd: number, name: string): Uint8Array {
    const page = this.#name(56, fromText(name));
    new DataView(page.buffer).setBigInt64(0, BigInt(fd), true);
    return page;
  }

  #name(offset: number, name: ByteString): Uint8Array<ArrayBuffer> {
    if (name.length > longestName) {
      throw new Failure("invalid_argument", `cannot name a subvolume ${JSON.stringify(toText(name))}: it is too long`);
    }
    const page = new Uint8Array(pageBytes);
    page.set(toBytes(name), offset);
    return page;
  }

  #ioctl(fd: number, request: number, argument: Uint8Array): number {
    return this.#kernel.attempt("ioctl", fd, request, argument);
  }

  #view(): DataView {
    return new DataView(this.#page.bytes.buffer, this.#page.bytes.byteOffset, pageBytes);
  }

  #in<T>(folder: string, use: (fd: number) => T): T {
    const fd = this.#files.openFolder(folder);
    try {
      return use(fd);
    } finally {
      this.#files.close(fd);
    }
  }

  #below(parent: number, name: ByteString, use: (fd: number) => void): void {
    const fd = this.#files.openDirectory(parent, name);
    try {
      use(fd);
    } finally {
      this.#files.close(fd);
    }
  }
}
