import type { ByteString } from "../byte_string.ts";
import { S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG, S_IFSOCK } from "../flags.ts";
import { blockBytes } from "./format.ts";

const entryBytes = 12;

/** Types of files as directories tell them. */
const types: Readonly<Record<number, number>> = {
  [S_IFREG]: 1,
  [S_IFDIR]: 2,
  [S_IFCHR]: 3,
  [S_IFBLK]: 4,
  [S_IFIFO]: 5,
  [S_IFSOCK]: 6,
  [S_IFLNK]: 7,
};

/** An entry of a directory: a name, and the inode that it names. */
export interface Named {
  readonly name: ByteString;
  readonly mode: number;
  readonly nid: number;
}

/**
 * How the names of a directory, sorted by their bytes, are parted into blocks. In each the entries come first and the names
 * behind them, so that the kernel finds one by halving.
 * @returns how many names are in each block, and the bytes of all.
 */
export function layOut(names: readonly ByteString[]): { readonly counts: readonly number[]; readonly size: number } {
  const counts: number[] = [];
  let [count, used] = [0, 0];
  for (const { length } of names) {
    if (used + entryBytes + length > blockBytes) {
      counts.push(count);
      [count, used] = [0, 0];
    }
    count++;
    used += entryBytes + length;
  }
  counts.push(count);
  return { counts, size: (counts.length - 1) * blockBytes + used };
}

/** Writes the blocks of a directory. @param counts as `layOut` gave them. */
export function writeDirectory(view: DataView, at: number, entries: readonly Named[], counts: readonly number[]): void {
  let next = 0;
  for (const [block, count] of counts.entries()) {
    const start = at + block * blockBytes;
    let nameAt = count * entryBytes;
    for (let i = 0; i < count; i++) {
      const { name, mode, nid } = entries[next++] ?? none;
      const entry = start + i * entryBytes;
      view.setUint32(entry, nid >>> 0, true);
      view.setUint32(entry + 4, Math.floor(nid / 2 ** 32), true);
      view.setUint16(entry + 8, nameAt, true);
      view.setUint8(entry + 10, types[mode & S_IFMT] ?? 0);
      for (let j = 0; j < name.length; j++) view.setUint8(start + nameAt + j, name.charCodeAt(j));
      nameAt += name.length;
    }
  }
}

const none: Named = { name: "", mode: 0, nid: 0 };
