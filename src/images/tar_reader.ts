import { Failure } from "../core/errors.ts";
import { type ByteString, fromBytes } from "../linux/byte_string.ts";
import { paxInteger, type PaxRecords, paxTime, readPax } from "./pax.ts";
import { checkSparseMap, commaNumbers, LeadingMap, type SparseMap, sparseMapOf } from "./sparse_map.ts";
import { blockBytes, malformed } from "./tar_block.ts";
import { type RawHeader, readHeader, readSparseBlock, type TarEntry, type TarEntryType } from "./tar_header.ts";

const maxExtendedBytes = 1 << 20;
const maxPathBytes = 4096;

/** What most entries have: one for all of them, since a layer may have a million. */
const noAttributes: TarEntry["attributes"] = new Map();

const types: Readonly<Record<string, TarEntryType>> = {
  "\0": "file",
  "0": "file",
  "S": "file",
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

/** A piece of the content of the last entry. */
export interface TarData {
  readonly kind: "data";
  readonly bytes: Uint8Array;
  /** Where it is in the archive. */
  readonly at: number;
  /** Where it belongs in a sparse file. */
  readonly offset?: number;
}

/** An entry, or a piece of the content of the last entry, or the end of the archive. */
export type TarEvent =
  | { readonly kind: "entry"; readonly entry: TarEntry; readonly offset: number }
  | TarData
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
  /** What is left of the pieces of a sparse file, and how much of the first one has come. */
  #segments: SparseMap | undefined;
  #segment = 0;
  #within = 0;
  /** The map of a sparse file that stands before its content. */
  #leading: { readonly map: LeadingMap; readonly size: number } | undefined;
  /** A header of GNU tar's sparse form whose map goes on. */
  #mapped: { readonly header: RawHeader; readonly numbers: number[] } | undefined;
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
   * types of entries that tar programs keep for themselves.
   */
  next(): TarEvent | undefined {
    while (this.#at < this.#chunk.length) {
      if (this.#ended) {
        this.#at = this.#chunk.length;
        return undefined;
      }
      if (this.#leading !== undefined) {
        if (!this.#readMap(this.#leading)) return undefined;
        continue;
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
        const event = this.#mapped === undefined ? this.#begin(readHeader(block)) : this.#more(this.#mapped, block);
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
    if (this.#content > 0 || this.#filled > 0 || this.#header !== undefined || this.#mapped !== undefined) {
      throw new Failure(
        "data_loss",
        "cannot read the tar archive: it ends in the middle of an entry: it was cut short",
      );
    }
  }

  #data(): TarEvent {
    const segment = this.#nextSegment();
    const length = Math.min(this.#content, segment === undefined ? Infinity : segment.length - this.#within);
    const bytes = this.#chunk.subarray(this.#at, this.#at + length);
    const at = this.#before + this.#at;
    this.#at += bytes.length;
    this.#content -= bytes.length;
    if (segment === undefined) return { kind: "data", bytes, at };
    const offset = segment.offset + this.#within;
    this.#within += bytes.length;
    return { kind: "data", bytes, at, offset };
  }

  /** The piece of a sparse file that comes now. */
  #nextSegment(): SparseMap[number] | undefined {
    for (;;) {
      const segment = this.#segments?.[this.#segment];
      if (segment === undefined || this.#within < segment.length) return segment;
      this.#segment++;
      this.#within = 0;
    }
  }

  /** @returns whether it is whole. */
  #readMap({ map, size }: { readonly map: LeadingMap; readonly size: number }): boolean {
    const block = this.#take(blockBytes);
    if (block === undefined) return false;
    this.#content -= blockBytes;
    if (this.#content < 0) throw malformed("the map of a sparse file is longer than its content");
    const found = map.feed(block);
    if (found === undefined) return true;
    this.#leading = undefined;
    this.#setMap(found, size);
    return true;
  }

  #setMap(map: SparseMap, size: number): void {
    checkSparseMap(map, size, this.#content);
    [this.#segments, this.#segment, this.#within] = [map, 0, 0];
  }

  /** One more block of the map of GNU tar's own form. */
  #more({ header, numbers }: { readonly header: RawHeader; readonly numbers: number[] }, block: Uint8Array) {
    const { numbers: more, more: goesOn } = readSparseBlock(block);
    numbers.push(...more);
    sparseMapOf(numbers);
    if (goesOn) return undefined;
    this.#mapped = undefined;
    return this.#entry(header, numbers);
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
    if (header.sparse?.more === true) {
      this.#mapped = { header, numbers: [...header.sparse.numbers] };
      return undefined;
    }
    if (!extended.has(header.type)) return this.#entry(header, header.sparse?.numbers);
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

  /** @param numbers the map of GNU tar's own form of a sparse file. */
  #entry(header: RawHeader, numbers: readonly number[] | undefined): TarEvent {
    const values = this.#pax?.values;
    const path = values?.get("GNU.sparse.name") || values?.get("path") || this.#longPath || header.path;
    const link = values?.get("linkpath") || this.#longLink || header.link;
    const attributes = this.#pax?.attributes.size ? this.#pax.attributes : noAttributes;
    const integer = (keyword: string, value: number) => {
      const said = values?.get(keyword);
      return said === undefined || said === "" ? value : paxInteger(said, keyword);
    };
    for (const name of [path, link]) {
      if (name.length > maxPathBytes) throw malformed(`a name has more than ${maxPathBytes} bytes`, name);
      if (name.includes("\0")) throw malformed("a name holds a NUL", name);
    }
    const type = types[header.type];
    if (type === undefined) {
      throw new Failure(
        "unimplemented",
        `cannot unpack an entry of type ${JSON.stringify(header.type)} in a tar archive: make the archive without`,
      );
    }
    // Before there was a type for directories, a slash at the end said it.
    const real = type === "file" && path.endsWith("/") ? "directory" : type;
    const stated = integer("size", header.size);
    if (stated < 0) throw malformed(`the size ${stated} is negative`, path);
    const stored = real === "file" ? stated : 0;
    const form = real === "file" ? this.#sparseForm(header, numbers) : undefined;
    const size = form === undefined ? stored : form.size;
    if (size < 0) throw malformed(`the size ${size} is negative`, path);
    const said = values?.get("mtime");
    const entry: TarEntry = {
      type: real,
      path,
      link,
      size,
      ...(form === undefined ? {} : { sparse: true }),
      mode: header.mode & 0o7777,
      uid: id(integer("uid", header.uid), path),
      gid: id(integer("gid", header.gid), path),
      modified: said === undefined || said === "" ? { seconds: header.seconds, nanoseconds: 0 } : paxTime(said),
      device: { major: header.major, minor: header.minor },
      attributes,
    };
    this.#pax = this.#longPath = this.#longLink = undefined;
    this.#content = stored;
    this.#padding = -stored & (blockBytes - 1);
    this.#segments = undefined;
    if (form?.map === "leading") this.#leading = { map: new LeadingMap(), size };
    else if (form !== undefined) this.#setMap(form.map, size);
    return { kind: "entry", entry, offset: this.#before + this.#at };
  }

  /**
   * How a file with holes is told, where it is one.
   * @see https://www.gnu.org/software/tar/manual/html_node/Sparse-Formats.html
   */
  #sparseForm(
    header: RawHeader,
    numbers: readonly number[] | undefined,
  ): { readonly size: number; readonly map: SparseMap | "leading" } | undefined {
    if (header.sparse !== undefined) return { size: header.sparse.size, map: sparseMapOf(numbers ?? []) };
    const { values, sparse = [] } = this.#pax ?? {};
    const keyword = values?.has("GNU.sparse.realsize") ? "GNU.sparse.realsize" : "GNU.sparse.size";
    const size = values?.get(keyword);
    if (values === undefined || size === undefined) return undefined;
    const major = values.get("GNU.sparse.major");
    if (major !== undefined && major !== "0" && major !== "1") {
      throw new Failure(
        "unimplemented",
        `cannot unpack a sparse file of form ${JSON.stringify(major)} in a tar archive`,
      );
    }
    const real = paxInteger(size, keyword);
    if (major === "1") return { size: real, map: "leading" };
    const map = values.get("GNU.sparse.map");
    return { size: real, map: sparseMapOf(map === undefined ? sparse : commaNumbers(map)) };
  }
}

function id(value: number, path: ByteString): number {
  // The last one means "leave it as it is" to chown(2).
  if (value >= 0 && value < 0xffff_ffff) return value;
  throw malformed(`the owner ${value} is out of range`, path);
}
