import { Failure } from "../core/errors.ts";
import { type ByteString, fromBytes } from "../linux/byte_string.ts";
import { paxInteger, type PaxRecords, paxTime, readPax } from "./pax.ts";
import { blockBytes, malformed, type RawHeader, readHeader, type TarEntry, type TarEntryType } from "./tar_header.ts";

const maxExtendedBytes = 1 << 20;
const maxPathBytes = 4096;

const types: Readonly<Record<string, TarEntryType>> = {
  "\0": "file",
  "0": "file",
  "7": "file",
  "1": "hardlink",
  "2": "symlink",
  "3": "character",
  "4": "block",
  "5": "directory",
  "6": "fifo",
};

/** Headers that speak of the entry behind them, or of nothing that a filesystem has. */
const extended: ReadonlySet<string> = new Set(["x", "g", "L", "K"]);

/** An entry, or a piece of the content of the last entry, or the end of the archive. */
export type TarEvent =
  | { readonly kind: "entry"; readonly entry: TarEntry; readonly offset: number }
  | { readonly kind: "data"; readonly bytes: Uint8Array }
  | { readonly kind: "end" };

/**
 * Reads a tar archive from pieces of any size: ustar, pax, GNU.
 *
 * It is pulled, not pushed, so that its caller decides when to go on. Feed a piece, take events until there is none, and
 * feed the next; pieces of data are views of what was fed.
 */
export class TarReader {
  #chunk: Uint8Array = new Uint8Array();
  #at = 0;
  /** Bytes before the current chunk. */
  #before = 0;
  /** A header or an extended header's content that is not complete yet. */
  #partial: Uint8Array<ArrayBuffer> | undefined;
  #filled = 0;
  #header: RawHeader | undefined;
  #content = 0;
  #padding = 0;
  #pax: PaxRecords | undefined;
  #longPath: ByteString | undefined;
  #longLink: ByteString | undefined;
  #ended = false;

  /** Gives the next piece. What `next` had left of the one before is gone. */
  feed(chunk: Uint8Array): void {
    this.#before += this.#chunk.length;
    this.#chunk = chunk;
    this.#at = 0;
  }

  /**
   * @returns undefined when it wants to be fed.
   * @throws invalid_argument for what is no tar; resource_exhausted for headers past their limits; unimplemented for
   * sparse files and types of entries that tar programs keep for themselves.
   */
  next(): TarEvent | undefined {
    while (this.#at < this.#chunk.length) {
      if (this.#ended) {
        this.#at = this.#chunk.length;
        return undefined;
      }
      if (this.#content > 0) return this.#data();
      if (this.#padding > 0) {
        const skipped = Math.min(this.#padding, this.#chunk.length - this.#at);
        this.#padding -= skipped;
        this.#at += skipped;
        continue;
      }
      const header = this.#header;
      if (header === undefined) {
        const block = this.#take(blockBytes);
        if (block === undefined) return undefined;
        const event = this.#begin(readHeader(block));
        if (event !== undefined) return event;
      } else {
        const body = this.#take(header.size);
        if (body === undefined) return undefined;
        this.#extend(header, body);
      }
    }
    return undefined;
  }

  /**
   * Says that nothing more comes. Archives without the closing zeros are accepted.
   * @throws data_loss when it ends within an entry.
   */
  end(): void {
    if (this.#ended) return;
    if (this.#content > 0 || this.#filled > 0 || this.#header !== undefined) {
      throw new Failure(
        "data_loss",
        "cannot read the tar archive: it ends in the middle of an entry: it was cut short",
      );
    }
  }

  #data(): TarEvent {
    const bytes = this.#chunk.subarray(this.#at, this.#at + this.#content);
    this.#at += bytes.length;
    this.#content -= bytes.length;
    return { kind: "data", bytes };
  }

  /** Takes so many bytes in one piece; copies them only where they lie in more than one chunk. */
  #take(length: number): Uint8Array | undefined {
    const there = this.#chunk.length - this.#at;
    if (this.#partial === undefined && there >= length) {
      const bytes = this.#chunk.subarray(this.#at, this.#at + length);
      this.#at += length;
      return bytes;
    }
    this.#partial ??= new Uint8Array(length);
    const taken = Math.min(there, length - this.#filled);
    this.#partial.set(this.#chunk.subarray(this.#at, this.#at + taken), this.#filled);
    this.#at += taken;
    this.#filled += taken;
    if (this.#filled < length) return undefined;
    const bytes = this.#partial;
    this.#partial = undefined;
    this.#filled = 0;
    return bytes;
  }

  #begin(header: RawHeader | undefined): TarEvent | undefined {
    if (header === undefined) {
      this.#ended = true;
      return { kind: "end" };
    }
    if (header.size < 0) throw malformed(`the size ${header.size} is negative`, header.path);
    if (!extended.has(header.type)) return this.#entry(header);
    if (header.size > maxExtendedBytes) {
      throw new Failure(
        "resource_exhausted",
        `cannot read the tar archive: an extended header has ${header.size} bytes, the limit is ${maxExtendedBytes}`,
      );
    }
    if (header.size === 0) return undefined;
    this.#header = header;
    return undefined;
  }

  #extend(header: RawHeader, body: Uint8Array): void {
    this.#header = undefined;
    this.#padding = -header.size & (blockBytes - 1);
    // A NUL ends GNU's names.
    const name = () => fromBytes(body.subarray(0, body.indexOf(0) < 0 ? body.length : body.indexOf(0)));
    if (header.type === "x") this.#pax = readPax(body);
    if (header.type === "L") this.#longPath = name();
    if (header.type === "K") this.#longLink = name();
    // A global header (g) holds remarks, such as the commit that git made the archive of.
  }

  #entry(header: RawHeader): TarEvent {
    const values = this.#pax?.values;
    const path = values?.get("path") || this.#longPath || header.path;
    const link = values?.get("linkpath") || this.#longLink || header.link;
    const attributes = this.#pax?.attributes ?? new Map();
    const integer = (keyword: string, value: number) => {
      const said = values?.get(keyword);
      return said === undefined || said === "" ? value : paxInteger(said, keyword);
    };
    for (const name of [path, link]) {
      if (name.length > maxPathBytes) throw malformed(`a name has more than ${maxPathBytes} bytes`, name);
      if (name.includes("\0")) throw malformed("a name holds a NUL", name);
    }
    const sparse = header.type === "S" ||
      (values?.has("GNU.sparse.major") ?? false) || (values?.has("GNU.sparse.map") ?? false);
    const type = types[header.type];
    if (sparse || type === undefined) {
      const what = sparse ? "a sparse file" : `an entry of type ${JSON.stringify(header.type)}`;
      throw new Failure(
        "unimplemented",
        `cannot unpack ${what} in a tar archive: make the archive without (GNU tar: no --sparse)`,
      );
    }
    // Before there was a type for directories, a slash at the end said it.
    const real = type === "file" && path.endsWith("/") ? "directory" : type;
    const stated = integer("size", header.size);
    if (stated < 0) throw malformed(`the size ${stated} is negative`, path);
    const size = real === "file" ? stated : 0;
    const said = values?.get("mtime");
    const entry: TarEntry = {
      type: real,
      path,
      link,
      size,
      mode: header.mode & 0o7777,
      uid: id(integer("uid", header.uid), path),
      gid: id(integer("gid", header.gid), path),
      modified: said === undefined || said === "" ? { seconds: header.seconds, nanoseconds: 0 } : paxTime(said),
      device: { major: header.major, minor: header.minor },
      attributes,
    };
    this.#pax = this.#longPath = this.#longLink = undefined;
    this.#content = size;
    this.#padding = -size & (blockBytes - 1);
    return { kind: "entry", entry, offset: this.#before + this.#at };
  }
}

function id(value: number, path: ByteString): number {
  // The last one means "leave it as it is" to chown(2).
  if (value >= 0 && value < 0xffff_ffff) return value;
  throw malformed(`the owner ${value} is out of range`, path);
}
