import type { Memory } from "../core/host.ts";
import { S_IFDIR, S_IFLNK, S_IFMT, S_IFREG, STATX_BASIC_STATS } from "./flags.ts";

/** A moment as the kernel keeps it. */
export interface Timestamp {
  /** Seconds since 1970, negative before. */
  readonly seconds: number;
  /** 0 to 999,999,999. */
  readonly nanoseconds: number;
}

/** What statx(2) tells of a file. @see https://man7.org/linux/man-pages/man2/statx.2.html */
export interface FileStatus {
  /** Type and permission bits. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly links: number;
  readonly size: number;
  /** Disk space, in units of 512 bytes. */
  readonly blocks: number;
  readonly accessed: Timestamp;
  readonly modified: Timestamp;
  /** When the inode itself, or the content, changed last; no program can set it. */
  readonly statusChanged: Timestamp;
  /** Of a device node: what it stands for. */
  readonly rdev: { readonly major: number; readonly minor: number };
  /** Names the inode on this machine: two names with the same identity are one file. */
  readonly identity: string;
  /** The inode's number alone, which a snapshot of a filesystem has in common with its origin. */
  readonly inode: bigint;
}

/** What is asked for. */
export const statxMask = STATX_BASIC_STATS;
/** The size of `struct statx`. */
const statxSize = 256;

/** Reads a `struct statx` that the kernel filled. */
export function readStatx(memory: Memory, offset = 0): FileStatus {
  const view = new DataView(memory.bytes.buffer, memory.bytes.byteOffset + offset, statxSize);
  const time = (at: number): Timestamp => ({
    seconds: Number(view.getBigInt64(at, true)),
    nanoseconds: view.getUint32(at + 8, true),
  });
  return {
    links: view.getUint32(16, true),
    uid: view.getUint32(20, true),
    gid: view.getUint32(24, true),
    mode: view.getUint16(28, true),
    size: Number(view.getBigUint64(40, true)),
    blocks: Number(view.getBigUint64(48, true)),
    accessed: time(64),
    modified: time(112),
    statusChanged: time(96),
    rdev: { major: view.getUint32(128, true), minor: view.getUint32(132, true) },
    inode: view.getBigUint64(32, true),
    identity: `${view.getUint32(136, true)}:${view.getUint32(140, true)}:${view.getBigUint64(32, true)}`,
  };
}

export const isDirectory = (status: { readonly mode: number }): boolean => (status.mode & S_IFMT) === S_IFDIR;
export const isSymlink = (status: { readonly mode: number }): boolean => (status.mode & S_IFMT) === S_IFLNK;
export const isRegular = (status: { readonly mode: number }): boolean => (status.mode & S_IFMT) === S_IFREG;
