import { type ByteString, fromBytes } from "../linux/byte_string.ts";
import type { Timestamp } from "../linux/statx.ts";
import { oldSparseNumbers } from "./sparse_map.ts";
import { blockBytes, malformed } from "./tar_block.ts";

export type TarEntryType = "file" | "hardlink" | "symlink" | "character" | "block" | "directory" | "fifo";

/** One member of a tar archive, with what pax and GNU headers before it say. */
export interface TarEntry {
  readonly type: TarEntryType;
  readonly path: ByteString;
  /** Target of a link. */
  readonly link: ByteString;
  /** Bytes of content; those of a sparse file's holes do not follow. */
  readonly size: number;
  /** Whether it is a file with holes: its data events say where they belong. */
  readonly sparse?: boolean;
  /** Permission bits, set-id and sticky bits included. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly modified: Timestamp;
  readonly device: { readonly major: number; readonly minor: number };
  /** Extended attributes. */
  readonly attributes: ReadonlyMap<ByteString, Uint8Array<ArrayBuffer>>;
}

/** A header block as it is, before other headers change it. */
export interface RawHeader {
  readonly type: string;
  readonly path: ByteString;
  readonly link: ByteString;
  readonly size: number;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly seconds: number;
  readonly major: number;
  readonly minor: number;
  /** GNU tar's own form of a file with holes: the beginning of its map, and whether more blocks of it follow. */
  readonly sparse?: { readonly numbers: readonly number[]; readonly size: number; readonly more: boolean };
}

/**
 * Reads one header block.
 * @returns undefined for a block of zeros, which ends an archive.
 * @throws invalid_argument when the checksum does not match, or a number is none.
 * @see https://pubs.opengroup.org/onlinepubs/9799919799/utilities/pax.html
 */
export function readHeader(block: Uint8Array): RawHeader | undefined {
  const stated = checksum(block);
  if (stated === undefined) return undefined;
  const posix = text(block, 257, 6) === "ustar" && block[262] === 0;
  const name = text(block, 0, 100);
  // GNU keeps times where POSIX has the prefix; star keeps them in its last bytes.
  const prefix = posix ? text(block, 345, text(block, 508, 4) === "tar" ? 131 : 155) : "";
  return {
    type: String.fromCharCode(block[156] ?? 0),
    path: prefix === "" ? name : `${prefix}/${name}`,
    link: text(block, 157, 100),
    size: number(block, 124, 12, "size"),
    mode: number(block, 100, 8, "mode"),
    uid: number(block, 108, 8, "uid"),
    gid: number(block, 116, 8, "gid"),
    seconds: number(block, 136, 12, "mtime"),
    major: number(block, 329, 8, "device number"),
    minor: number(block, 337, 8, "device number"),
    ...(block[156] === 83
      ? {
        sparse: {
          numbers: oldSparseNumbers(block, 386, 4, number),
          size: number(block, 483, 12, "real size"),
          more: block[482] !== 0,
        },
      }
      : {}),
  };
}

/** One more block of such a map. */
export function readSparseBlock(block: Uint8Array): { readonly numbers: readonly number[]; readonly more: boolean } {
  return { numbers: oldSparseNumbers(block, 0, 21, number), more: block[504] !== 0 };
}

/** @returns the sum, or undefined for a block of zeros. */
function checksum(block: Uint8Array): number | undefined {
  let [unsigned, signed] = [0, 0];
  for (let i = 0; i < blockBytes; i++) {
    // The field itself counts as spaces.
    const byte = i >= 148 && i < 156 ? 32 : block[i] ?? 0;
    unsigned += byte;
    signed += byte > 127 ? byte - 256 : byte;
  }
  if (unsigned === 8 * 32 && block.subarray(148, 156).every((byte) => byte === 0)) return undefined;
  const stated = number(block, 148, 8, "checksum");
  // Old programs summed signed characters.
  if (stated === unsigned || stated === signed) return stated;
  throw malformed(`a header's checksum is ${stated}, its bytes sum up to ${unsigned}`);
}

function text(block: Uint8Array, offset: number, length: number): ByteString {
  let end = offset;
  while (end < offset + length && block[end] !== 0) end++;
  return fromBytes(block.subarray(offset, end));
}

/** Octal digits, or, with the first bit set, a big-endian number in two's complement (GNU and star). */
function number(block: Uint8Array, offset: number, length: number, what: string): number {
  const first = block[offset] ?? 0;
  if (first & 0x80) {
    let value = BigInt.asIntN(7, BigInt(first & 0x7f));
    for (let i = 1; i < length; i++) value = (value << 8n) | BigInt(block[offset + i] ?? 0);
    if (value > BigInt(Number.MAX_SAFE_INTEGER) || value < BigInt(Number.MIN_SAFE_INTEGER)) {
      throw malformed(`the ${what} ${value} of a header is out of range`);
    }
    return Number(value);
  }
  let at = offset;
  let end = offset + length;
  while (at < end && (block[at] === 32 || block[at] === 0)) at++;
  while (end > at && (block[end - 1] === 32 || block[end - 1] === 0)) end--;
  let value = 0;
  for (; at < end && block[at] !== 0; at++) {
    const digit = (block[at] ?? 0) - 48;
    if (digit < 0 || digit > 7) throw malformed(`the ${what} of a header is no octal number`);
    value = value * 8 + digit;
  }
  return value;
}
