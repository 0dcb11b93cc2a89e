import type { Memory } from "../core/host.ts";
import { errno } from "./errno.ts";
import { argument, type ByteString, fromBytes, toText } from "./byte_string.ts";
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  AT_REMOVEDIR,
  AT_SYMLINK_NOFOLLOW,
  O_CLOEXEC,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_NONBLOCK,
  O_PATH,
  O_RDONLY,
  RESOLVE_IN_ROOT,
  RESOLVE_NO_MAGICLINKS,
  SEEK_SET,
} from "./flags.ts";
import type { Kernel } from "./kernel.ts";
import { holds, type OwnIds, ownIds } from "./own_ids.ts";
import { type FileStatus, isRegular, readStatx, statxMask, type Timestamp } from "./statx.ts";
import { syscallFailure } from "./syscall_failure.ts";
import type { SyscallName } from "./syscalls.ts";

/** The most that one `write` takes from JavaScript at a time. */
const writeBytes = 1 << 20;
const pathBytes = 4096;
const listBytes = 64 << 10;

/** An entry of a directory. */
export interface DirectoryEntry {
  readonly name: ByteString;
  /** Known without asking for its status; undefined where the filesystem does not tell. */
  readonly directory: boolean | undefined;
}

/**
 * System calls on files: every name is one component below an open directory, so that no path is ever walked twice and no
 * symbolic link is followed. Methods return a descriptor or nothing; those that begin with `try` return the negative errno
 * instead of throwing.
 */
export class Files implements Disposable {
  /** Who can own files here. */
  readonly ids: OwnIds;
  readonly #kernel: Kernel;
  readonly #memory: Memory;

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
    this.ids = ownIds(kernel);
    this.#memory = kernel.host.map(writeBytes + 4096);
  }

  [Symbol.dispose](): void {
    this.#memory.release();
  }

  /** Opens a folder by its path, in text. @throws not_found; failed_precondition when it is none. */
  openFolder(path: string): number {
    const fd = this.#kernel.attempt("openat", AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
    return this.#done(fd, "openat", () => `cannot open the folder ${JSON.stringify(path)}`);
  }

  /** Opens a directory below another, not through a symbolic link. */
  openDirectory(parent: number, name: ByteString): number {
    return this.#done(this.tryOpenDirectory(parent, name), "openat", () => `cannot open ${quote(name)}`);
  }

  /** @returns the descriptor, or the negative errno. */
  tryOpenDirectory(parent: number, name: ByteString): number {
    return this.tryOpen(parent, name, O_RDONLY | O_DIRECTORY);
  }

  tryOpen(parent: number, name: ByteString, flags: number, mode = 0): number {
    return this.#kernel.attempt("openat", parent, argument(name), flags | O_NOFOLLOW | O_CLOEXEC, mode);
  }

  /**
   * Opens a file for reading if it is a regular one. Of others not even the driver hears: to open a device can do
   * something, and a fifo waits for its writer.
   * @returns the descriptor, or undefined.
   */
  openRegular(parent: number, name: ByteString): number | undefined {
    const found = this.tryOpen(parent, name, O_PATH);
    if (found < 0) return undefined;
    try {
      const status = this.stat(found, "");
      if (status === undefined || !isRegular(status)) return undefined;
      // The very file that was looked at, whatever has its name by now.
      const flags = O_RDONLY | O_NONBLOCK | O_CLOEXEC;
      const fd = this.#kernel.attempt("openat", AT_FDCWD, `/proc/self/fd/${found}`, flags, 0);
      return this.#done(fd, "openat", () => `cannot open ${quote(name)}`);
    } finally {
      this.close(found);
    }
  }

  /**
   * Opens a directory by a path that the kernel resolves as if `root` were `/`: symbolic links and `..` lead nowhere else.
   * @see https://man7.org/linux/man-pages/man2/openat2.2.html
   */
  tryOpenInRoot(root: number, path: ByteString): number {
    const how = [O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS];
    return this.#kernel.attempt("openat2", root, argument(path === "" ? "." : path), how, how.length * 8);
  }

  close(fd: number): void {
    this.#kernel.attempt("close", fd);
  }

  /** The path of an open directory, as the kernel knows it. */
  pathOf(fd: number): ByteString {
    return this.readLink(AT_FDCWD, `/proc/self/fd/${fd}`);
  }

  /**
   * The path of an open directory below another. Where that is the root of a mount that is not below this process's root,
   * the kernel calls it `/`.
   */
  pathBelow(root: number, fd: number): ByteString {
    const top = this.pathOf(root);
    return this.pathOf(fd).slice(top === "/" ? 1 : top.length + 1);
  }

  /** What kind of filesystem an open file is on: one of the `*_MAGIC` numbers. */
  filesystem(fd: number): number {
    const result = this.#kernel.attempt("fstatfs", fd, this.#memory.address);
    this.#done(result, "fstatfs", () => "cannot look at a filesystem");
    return new DataView(this.#memory.bytes.buffer, this.#memory.bytes.byteOffset, 8).getUint32(0, true);
  }

  /** The status of a file itself, links not followed; undefined where it is not there. An empty name means `parent`. */
  stat(parent: number, name: ByteString): FileStatus | undefined {
    const flags = AT_SYMLINK_NOFOLLOW | (name === "" ? AT_EMPTY_PATH : 0);
    const result = this.#kernel.attempt("statx", parent, argument(name), flags, statxMask, this.#memory.address);
    if (result === -errno.ENOENT || result === -errno.ENOTDIR) return undefined;
    this.#done(result, "statx", () => `cannot look at ${quote(name)}`);
    return readStatx(this.#memory, 0);
  }

  readLink(parent: number, name: ByteString): ByteString {
    const link = this.#readLink(parent, name);
    if (typeof link === "string") return link;
    throw syscallFailure(`cannot read the link ${quote(name)}`, "readlinkat", link);
  }

  /** @returns undefined where there is no link of that name. */
  tryReadLink(parent: number, name: ByteString): ByteString | undefined {
    const link = this.#readLink(parent, name);
    if (typeof link === "string") return link;
    if (link === -errno.ENOENT || link === -errno.EINVAL) return undefined;
    throw syscallFailure(`cannot read the link ${quote(name)}`, "readlinkat", link);
  }

  #readLink(parent: number, name: ByteString): ByteString | number {
    const length = this.#kernel.attempt("readlinkat", parent, argument(name), this.#memory.address, pathBytes);
    return length < 0 ? length : fromBytes(this.#memory.bytes.subarray(0, length));
  }

  tryMakeDirectory(parent: number, name: ByteString, mode: number): number {
    return this.#kernel.attempt("mkdirat", parent, argument(name), mode);
  }

  trySymlink(parent: number, name: ByteString, target: ByteString): number {
    return this.#kernel.attempt("symlinkat", argument(target), parent, argument(name));
  }

  tryLink(fromParent: number, from: ByteString, parent: number, name: ByteString): number {
    return this.#kernel.attempt("linkat", fromParent, argument(from), parent, argument(name), 0);
  }

  /** Makes a device node, fifo or socket. @param mode type and permission bits; the umask takes from them. */
  tryMakeNode(parent: number, name: ByteString, mode: number, major: number, minor: number): number {
    return this.#kernel.attempt("mknodat", parent, argument(name), mode, deviceNumber(major, minor));
  }

  tryUnlink(parent: number, name: ByteString, directory = false): number {
    return this.#kernel.attempt("unlinkat", parent, argument(name), directory ? AT_REMOVEDIR : 0);
  }

  tryRename(fromParent: number, from: ByteString, parent: number, name: ByteString): number {
    return this.#kernel.attempt("renameat", fromParent, argument(from), parent, argument(name));
  }

  /** Writes all of it. @param bytes as many as there are. */
  write(fd: number, bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length;) {
      const length = Math.min(bytes.length - at, writeBytes);
      this.#memory.bytes.set(bytes.subarray(at, at + length));
      for (let written = 0; written < length;) {
        const result = this.#kernel.attempt("write", fd, this.#memory.address + written, length - written);
        written += this.#done(result, "write", () => "cannot write");
      }
      at += length;
    }
  }

  /** Where the next piece is written. */
  seek(fd: number, offset: number): void {
    this.#done(this.#kernel.attempt("lseek", fd, offset, SEEK_SET), "lseek", () => `cannot go to byte ${offset}`);
  }

  /** Gives a file a size; what it had not before is a hole. */
  truncate(fd: number, size: number): void {
    this.#done(this.#kernel.attempt("ftruncate", fd, size), "ftruncate", () => `cannot make it ${size} bytes long`);
  }

  /**
   * Reads the next piece of a file.
   * @param limitBytes at most 1 MiB.
   * @returns a view that the next call of any method overwrites; empty at the end.
   */
  read(fd: number, limitBytes: number): Uint8Array {
    const length = this.#kernel.attempt("read", fd, this.#memory.address, Math.min(limitBytes, writeBytes));
    this.#done(length, "read", () => "cannot read");
    return this.#memory.bytes.subarray(0, length);
  }

  /**
   * Changes an owner. An id that the user namespace does not hold becomes 0, which is the user whose namespace it is.
   * @param name empty for the open file itself.
   */
  chown(parent: number, name: ByteString, uid: number, gid: number): void {
    const flags = AT_SYMLINK_NOFOLLOW | (name === "" ? AT_EMPTY_PATH : 0);
    const [user, group] = [holds(this.ids.uids, uid) ? uid : 0, holds(this.ids.gids, gid) ? gid : 0];
    const result = this.#kernel.attempt("fchownat", parent, argument(name), user, group, flags);
    this.#done(result, "fchownat", () => `cannot give ${quote(name)} to ${uid}:${gid}`);
  }

  /**
   * Sets permission bits; a symbolic link is refused, never followed, whenever it came there.
   * @param name empty for the open file itself.
   */
  chmod(parent: number, name: ByteString, mode: number): void {
    const why = () => `cannot set the mode of ${quote(name)}`;
    if (name === "") {
      this.#done(this.#kernel.attempt("fchmod", parent, mode), "fchmod", why);
      return;
    }
    const result = this.#kernel.attempt("fchmodat2", parent, argument(name), mode, AT_SYMLINK_NOFOLLOW);
    if (result !== -errno.ENOSYS) {
      this.#done(result, "fchmodat2", why);
      return;
    }
    // Before Linux 6.6 there is no call of that kind: what was opened is named by its descriptor.
    const fd = this.#done(this.tryOpen(parent, name, O_PATH), "openat", why);
    try {
      this.#done(this.#kernel.attempt("fchmodat", AT_FDCWD, `/proc/self/fd/${fd}`, mode), "fchmodat", why);
    } finally {
      this.close(fd);
    }
  }

  /** @param name empty for the open file itself. */
  setTimes(parent: number, name: ByteString, accessed: Timestamp, modified: Timestamp): void {
    const times = [
      BigInt(accessed.seconds),
      accessed.nanoseconds,
      BigInt(modified.seconds),
      modified.nanoseconds,
    ];
    // A null path means the descriptor itself, on every kernel.
    const path = name === "" ? 0 : argument(name);
    const result = this.#kernel.attempt("utimensat", parent, path, times, name === "" ? 0 : AT_SYMLINK_NOFOLLOW);
    this.#done(result, "utimensat", () => `cannot set the times of ${quote(name)}`);
  }

  /**
   * Reads a part of a directory, in the order of the filesystem, without `.` and `..`.
   * @param limitBytes how much at most, as the kernel lays it out: an entry has 24 and its name. 64 KiB at most, which is the default.
   * @returns undefined at the end.
   */
  list(fd: number, limitBytes = listBytes): DirectoryEntry[] | undefined {
    const { bytes, address } = this.#memory;
    const length = this.#kernel.attempt("getdents64", fd, address, limitBytes);
    // It was removed while it was open.
    if (length === -errno.ENOENT) return undefined;
    this.#done(length, "getdents64", () => "cannot list a directory");
    if (length === 0) return undefined;
    const entries: DirectoryEntry[] = [];
    const view = new DataView(bytes.buffer, bytes.byteOffset, length);
    for (let at = 0; at < length;) {
      const size = view.getUint16(at + 16, true);
      const type = view.getUint8(at + 18);
      const end = bytes.indexOf(0, at + 19);
      const name = fromBytes(bytes.subarray(at + 19, end));
      if (name !== "." && name !== "..") entries.push({ name, directory: type === 0 ? undefined : type === DT_DIR });
      at += size;
    }
    return entries;
  }

  /** All names of a directory, in the order of the filesystem. */
  names(fd: number): ByteString[] {
    const names: ByteString[] = [];
    this.rewind(fd);
    for (let entries = this.list(fd); entries !== undefined; entries = this.list(fd)) {
      for (const { name } of entries) names.push(name);
    }
    return names;
  }

  /** Begins the listing of a directory again. */
  rewind(fd: number): void {
    this.#done(this.#kernel.attempt("lseek", fd, 0, SEEK_SET), "lseek", () => "cannot list a directory again");
  }

  #done(result: number, syscall: SyscallName, action: () => string): number {
    if (result < 0) throw syscallFailure(action(), syscall, result);
    return result;
  }
}

const DT_DIR = 4;

/** @see https://man7.org/linux/man-pages/man3/makedev.3.html */
export function deviceNumber(major: number, minor: number): bigint {
  const [high, low] = [BigInt(major), BigInt(minor)];
  return (low & 0xffn) | ((high & 0xfffn) << 8n) | ((low & ~0xffn) << 12n) | ((high & ~0xfffn) << 32n);
}

function quote(name: ByteString): string {
  return name === "" ? "an open file" : JSON.stringify(toText(name));
}
