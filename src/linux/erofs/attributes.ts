import { Failure } from "../../core/errors.ts";
import { type ByteString, toText } from "../byte_string.ts";

/** Prefixes of attributes, each a number on disk; others have no place there. The longest that fits comes first. */
const prefixes: readonly (readonly [prefix: ByteString, index: number])[] = [
  ["system.posix_acl_access", 2],
  ["system.posix_acl_default", 3],
  ["user.", 1],
  ["trusted.", 4],
  ["security.", 6],
];

const headerBytes = 12;
const entryBytes = 4;
const mostBytes = headerBytes + 4 * 0xfffe;

interface Entry {
  readonly index: number;
  readonly name: ByteString;
  readonly value: Uint8Array;
}

/**
 * Extended attributes as they stand behind an inode.
 * @throws resource_exhausted for more than has room there.
 * @see https://docs.kernel.org/filesystems/erofs.html#xattrs
 */
export class AttributeBlock {
  readonly #entries: readonly Entry[];
  /** Bytes that it takes; 0 without attributes. */
  readonly size: number;

  constructor(attributes: ReadonlyMap<ByteString, Uint8Array>) {
    this.#entries = attributes.size === 0 ? [] : Array.from(attributes, split).filter((entry) => entry !== undefined);
    this.size = this.#entries.length === 0 ? 0 : this.#entries.reduce((sum, entry) => sum + sizeOf(entry), headerBytes);
    if (this.size > mostBytes) {
      throw new Failure(
        "resource_exhausted",
        `cannot keep extended attributes of ${this.size} bytes: a file of an EROFS image has room for ${mostBytes}`,
      );
    }
  }

  /** What an inode says of it. */
  get count(): number {
    return this.size === 0 ? 0 : 1 + (this.size - headerBytes) / 4;
  }

  write(view: DataView, at: number): void {
    let next = at + headerBytes;
    for (const entry of this.#entries) {
      const { index, name, value } = entry;
      view.setUint8(next, name.length);
      view.setUint8(next + 1, index);
      view.setUint16(next + 2, value.length, true);
      for (let i = 0; i < name.length; i++) view.setUint8(next + entryBytes + i, name.charCodeAt(i));
      new Uint8Array(view.buffer, view.byteOffset).set(value, next + entryBytes + name.length);
      next += sizeOf(entry);
    }
  }
}

function split([name, value]: readonly [ByteString, Uint8Array]): Entry | undefined {
  const found = prefixes.find(([prefix]) => name.startsWith(prefix));
  if (found === undefined) return undefined;
  const [prefix, index] = found;
  const rest = name.slice(prefix.length);
  if (rest.length <= 0xff && value.length <= 0xffff) return { index, name: rest, value };
  throw new Failure(
    "resource_exhausted",
    `cannot keep the attribute ${JSON.stringify(toText(name.slice(0, 300)))} of ${value.length} bytes: ` +
      "want a name of at most 255 bytes and a value of at most 65535",
  );
}

function sizeOf({ name, value }: Entry): number {
  return (entryBytes + name.length + value.length + 3) & ~3;
}
