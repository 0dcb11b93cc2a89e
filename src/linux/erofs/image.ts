import { Failure } from "../../core/errors.ts";
import type { ByteString } from "../byte_string.ts";
import { Files } from "../files.ts";
import { AT_FDCWD, O_CLOEXEC, O_CREAT, O_RDONLY, O_RDWR, O_TRUNC } from "../flags.ts";
import type { Kernel } from "../kernel.ts";
import type { Slice } from "../slice.ts";
import { AttributeBlock } from "./attributes.ts";
import { layOut, writeDirectory } from "./directory.ts";
import * as format from "./format.ts";
import type { ErofsNode } from "./inode.ts";

const { align, blockBytes, inodeBytes } = format;

/** Where content begins: behind the superblock. */
const contentStart = 4096;
const windowBytes = 1 << 20;
const mostBlocks = 2 ** 32;

/** An inode, and where it stands in the metadata. */
interface Placed {
  readonly node: ErofsNode;
  readonly parent: ErofsNode;
  readonly number: number;
  readonly at: number;
  readonly attributes: AttributeBlock;
  /** Of a directory: its names, sorted, and how they are parted into blocks. */
  readonly names?: readonly ByteString[];
  readonly counts?: readonly number[];
  /** Bytes of a directory or of a link's target, and where they stand in the metadata. */
  readonly dataSize: number;
  readonly dataAt: number;
  readonly inline: boolean;
  links: number;
}

/**
 * A filesystem image of the kernel's EROFS in one file, written from front to back: the superblock's place, contents as
 * they come (a whole archive, for one), then inodes and directories that point into them. Nothing is compressed.
 *
 * Usage: `append` and `reserve` contents, `finish` once.
 * @see https://docs.kernel.org/filesystems/erofs.html
 */
export class ErofsImage implements Disposable {
  readonly #kernel: Kernel;
  readonly #files: Files;
  readonly #fd: number;
  #end = contentStart;
  #position = 0;

  /** @param path a file that is made, or made anew. */
  constructor(kernel: Kernel, path: string) {
    this.#kernel = kernel;
    this.#files = new Files(kernel);
    this.#fd = kernel.call("openat", AT_FDCWD, path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600);
  }

  [Symbol.dispose](): void {
    this.#files.close(this.#fd);
    this.#files[Symbol.dispose]();
  }

  /** Where the next content comes. */
  get end(): number {
    return this.#end;
  }

  append(bytes: Uint8Array): void {
    this.write(this.#end, bytes);
    this.#end += bytes.length;
  }

  /** Makes room for content that is written later, or in part: what is not written is a hole. @returns where it begins. */
  reserve(size: number): number {
    const at = align(this.#end, blockBytes);
    this.#end = at + size;
    return at;
  }

  write(at: number, bytes: Uint8Array): void {
    this.#seek(at);
    this.#files.write(this.#fd, bytes);
    this.#position = at + bytes.length;
  }

  /** @param limitBytes at most 1 MiB. @returns a view that the next call overwrites. */
  read(at: number, limitBytes: number): Uint8Array {
    this.#seek(at);
    const bytes = this.#files.read(this.#fd, limitBytes);
    this.#position = at + bytes.length;
    return bytes;
  }

  /**
   * Writes the metadata of a tree, and then the superblock: until it is there the file is no image.
   * @throws resource_exhausted for more than an image can hold.
   */
  async finish(root: ErofsNode, slice: Slice): Promise<void> {
    const start = align(this.#end, blockBytes);
    const { placed, size } = await place(root, slice);
    const total = start + size;
    if (total / blockBytes >= mostBlocks) {
      throw new Failure(
        "resource_exhausted",
        `cannot write an EROFS image of ${total} bytes: the limit is ${mostBlocks * blockBytes}`,
      );
    }
    let [windowAt, filled] = [0, 0];
    let view = new DataView(new ArrayBuffer(windowBytes));
    const flush = () => this.write(start + windowAt, new Uint8Array(view.buffer, 0, filled));
    const base = start / blockBytes;
    for (const each of placed.values()) {
      if (slice.over) await slice.next();
      const end = Math.max(each.at + inodeBytes + each.attributes.size, each.dataAt + each.dataSize);
      if (end - windowAt > view.byteLength) {
        flush();
        windowAt = each.at;
        view = new DataView(new ArrayBuffer(Math.max(windowBytes, end - windowAt)));
      }
      writeInode(view, windowAt, each, base);
      if (each.names !== undefined) {
        const entries = each.names.map((name) => named(name, each, placed));
        writeDirectory(view, each.dataAt - windowAt, entries, each.counts ?? []);
      }
      filled = end - windowAt;
    }
    flush();
    // Programs read whole pages.
    this.#kernel.call("ftruncate", this.#fd, align(total, 4096));
    this.write(format.superOffset, superblock({ start: base, blocks: total / blockBytes, inodes: placed.size }));
  }

  #seek(at: number): void {
    if (this.#position !== at) this.#files.seek(this.#fd, at);
  }
}

/** The root's number has 16 bits, so that it comes first; number 0 means none to many programs. */
const firstInode = inodeBytes;

/** Finds a place for every inode, and behind it for its names or its target. */
async function place(
  root: ErofsNode,
  slice: Slice,
): Promise<{ readonly placed: Map<ErofsNode, Placed>; readonly size: number }> {
  const placed = new Map<ErofsNode, Placed>();
  let cursor = firstInode;
  const add = (node: ErofsNode, parent: ErofsNode): void => {
    const attributes = new AttributeBlock(node.attributes);
    const names = node.children === undefined ? undefined : [".", "..", ...node.children.keys()].sort(byBytes);
    const laid = names === undefined ? undefined : layOut(names);
    const dataSize = laid?.size ?? node.target?.length ?? 0;
    const head = inodeBytes + attributes.size;
    let at = align(cursor, inodeBytes);
    if (!fits(at + head, dataSize) && fits(align(at, blockBytes) + head, dataSize)) at = align(at, blockBytes);
    const inline = dataSize > 0 && fits(at + head, dataSize);
    const dataAt = inline || dataSize === 0 ? at + head : align(at + head, blockBytes);
    cursor = inline ? dataAt + dataSize : dataAt + (dataSize === 0 ? 0 : align(dataSize, blockBytes));
    placed.set(node, {
      node,
      parent,
      number: placed.size + 1,
      at,
      attributes,
      ...(names === undefined ? {} : { names }),
      ...(laid === undefined ? {} : { counts: laid.counts }),
      dataSize,
      dataAt,
      inline,
      links: node.children === undefined ? 1 : 2,
    });
  };
  add(root, root);
  // What is added meanwhile is visited too: level by level, so that the inodes of one folder stand together.
  for (const { node, names = [] } of placed.values()) {
    const own = placed.get(node);
    for (const name of names) {
      if (slice.over) await slice.next();
      const child = node.children?.get(name);
      if (child === undefined) continue;
      const known = placed.get(child);
      if (known === undefined) add(child, node);
      else known.links++;
      if (child.children !== undefined && own !== undefined) own.links++;
    }
  }
  return { placed, size: align(cursor, blockBytes) };
}

/** Content behind an inode may not go over the end of a block. */
function fits(at: number, size: number): boolean {
  return at % blockBytes + size <= blockBytes;
}

function named(name: ByteString, directory: Placed, placed: ReadonlyMap<ErofsNode, Placed>) {
  const { node, parent } = directory;
  const target = name === "." ? node : name === ".." ? parent : node.children?.get(name);
  const found = target === undefined ? undefined : placed.get(target);
  if (found === undefined) throw new Failure("internal", "an entry of a directory has no inode");
  return { name, mode: found.node.mode, nid: found.at / format.slotBytes };
}

function writeInode(view: DataView, windowAt: number, placed: Placed, base: number): void {
  const { node, attributes, dataSize, dataAt, inline, number, links } = placed;
  const at = placed.at - windowAt;
  // Bit 0: the extended form.
  view.setUint16(at, 1 | (inline ? format.layout.inline : format.layout.plain) << 1, true);
  view.setUint16(at + 2, attributes.count, true);
  view.setUint16(at + 4, node.mode, true);
  view.setBigUint64(at + 8, BigInt(node.size ?? dataSize), true);
  view.setUint32(at + 16, whatOf(placed, base), true);
  view.setUint32(at + 20, number, true);
  view.setUint32(at + 24, node.uid, true);
  view.setUint32(at + 28, node.gid, true);
  view.setBigInt64(at + 32, BigInt(node.modified.seconds), true);
  view.setUint32(at + 40, node.modified.nanoseconds, true);
  view.setUint32(at + 44, links, true);
  if (attributes.size > 0) attributes.write(view, at + inodeBytes);
  const target = node.target;
  if (target === undefined) return;
  for (let i = 0; i < target.length; i++) view.setUint8(dataAt - windowAt + i, target.charCodeAt(i));
}

/** The field of an inode that means a block or a device. */
function whatOf({ node: { device, size, at }, dataAt, dataSize, inline }: Placed, base: number): number {
  if (device !== undefined) {
    const { major, minor } = device;
    return ((minor & 0xff) | (major & 0xfff) << 8 | (minor & 0xfff00) << 12) >>> 0;
  }
  if (size !== undefined && size > 0) return (at ?? 0) / blockBytes;
  return dataSize === 0 || inline ? 0 : base + dataAt / blockBytes;
}

function superblock(
  { start, blocks, inodes }: { readonly start: number; readonly blocks: number; readonly inodes: number },
): Uint8Array {
  const bytes = new Uint8Array(format.superBytes);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, format.magic, true);
  view.setUint8(12, format.blockBits);
  view.setUint16(14, firstInode / format.slotBytes, true);
  view.setBigUint64(16, BigInt(inodes), true);
  view.setUint32(36, blocks, true);
  view.setUint32(40, start, true);
  // Overlayfs wants to tell its layers apart.
  crypto.getRandomValues(bytes.subarray(48, 64));
  return bytes;
}

function byBytes(a: ByteString, b: ByteString): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** How many files an image has. @param path one that is whole. */
export function inodesOf(kernel: Kernel, path: string): number {
  using files = new Files(kernel);
  const fd = kernel.call("openat", AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
  try {
    files.seek(fd, format.superOffset);
    const { buffer, byteOffset } = files.read(fd, format.superBytes);
    return Number(new DataView(buffer, byteOffset).getBigUint64(16, true));
  } finally {
    files.close(fd);
  }
}
