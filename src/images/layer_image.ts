import type { ByteString } from "../linux/byte_string.ts";
import { ErofsImage } from "../linux/erofs/image.ts";
import { type ErofsFolder, type ErofsNode, isFolder } from "../linux/erofs/inode.ts";
import { Files } from "../linux/files.ts";
import { O_RDONLY, S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG } from "../linux/flags.ts";
import type { Kernel } from "../linux/kernel.ts";
import type { Slice } from "../linux/slice.ts";
import { isDirectory, isRegular, isSymlink } from "../linux/statx.ts";
import { Xattrs } from "../linux/xattr.ts";
import type { Budget } from "./budget.ts";
import { entryPath, joinPath, quotePath, refused, splitPath } from "./entry_path.ts";
import type { LayerSink } from "./layer_sink.ts";
import { checkName, LayerTree, type TreeFolder } from "./layer_tree.ts";
import { type Attributes, isOverlayAttribute, LowerLayers, opaqueValue, plainFolder } from "./lower_layers.ts";
import type { TarEntry } from "./tar_header.ts";
import type { TarData } from "./tar_reader.ts";
import { whiteoutOf } from "./whiteout.ts";

const copyBytes = 1 << 20;
const none: ReadonlyMap<ByteString, Uint8Array> = new Map();
const epoch = { seconds: 0, nanoseconds: 0 };

export interface LayerImageOptions {
  /** The file that becomes the image. */
  readonly path: string;
  /** The folders of the layers below, nearest first. */
  readonly below: readonly string[];
  readonly budget: Budget;
}

/** A piece of a sparse file: where it is in the archive, and where it belongs. */
interface Piece {
  readonly at: number;
  readonly offset: number;
  length: number;
}

/**
 * A layer as one EROFS image: the archive as it is, and behind it a tree that points into it. No files are made at all.
 *
 * What the tree shows is what `LayerFolder` would make, whiteouts in overlayfs's form included.
 * @see https://github.com/opencontainers/image-spec/blob/v1.1.0/layer.md
 */
export class LayerImage implements LayerSink, Disposable {
  readonly #files: Files;
  readonly #xattrs: Xattrs;
  readonly #image: ErofsImage;
  readonly #budget: Budget;
  readonly #lower: LowerLayers;
  readonly #tree: LayerTree;
  /** Where the archive begins in the image. */
  readonly #start: number;
  /** Names that this layer hides from those below. */
  readonly #hidden = new Set<ByteString>();
  /** Folders that show nothing of the layers below. */
  readonly #opaque = new Set<ErofsNode>();
  /** Files with holes, which an archive has without them. */
  readonly #sparse = new Map<ErofsNode, Piece[]>();
  /** Files brought up from the layers below, and their paths there. */
  readonly #copied = new Map<ErofsNode, ByteString>();
  /** The pieces of the file that comes now, where it has holes. */
  #pieces: Piece[] | undefined;

  constructor(kernel: Kernel, { path, below, budget }: LayerImageOptions) {
    this.#files = new Files(kernel);
    this.#xattrs = new Xattrs(kernel);
    this.#budget = budget;
    this.#lower = new LowerLayers(this.#files, this.#xattrs, below);
    this.#tree = new LayerTree(this.#rootBelow(below[0]), (...place) => this.#makeParent(...place));
    this.#image = new ErofsImage(kernel, path);
    this.#start = this.#image.end;
  }

  [Symbol.dispose](): void {
    this.#image[Symbol.dispose]();
    this.#xattrs[Symbol.dispose]();
    this.#files[Symbol.dispose]();
  }

  archive(bytes: Uint8Array): void {
    this.#image.append(bytes);
  }

  /** @throws invalid_argument for an entry that leads out of the root, or that no filesystem can have. */
  add(entry: TarEntry, offset: number): Promise<void> {
    this.#pieces = undefined;
    this.#budget.entry();
    const path = entryPath(entry.path);
    if (path === "") {
      if (entry.type !== "directory") throw refused(entry.path, "the entry", "it is the root, and no directory");
      describe(this.#tree.root, entry);
      return done;
    }
    const [parent, name] = splitPath(path);
    const whiteout = whiteoutOf(path);
    if (whiteout?.hides === "nothing") return done;
    const folder = this.#tree.open(parent);
    if (whiteout?.hides === "all") this.#opaque.add(folder.node);
    else if (whiteout?.hides === "name") this.#hide(folder, whiteout.name, entry);
    else {
      checkName(name, entry.path);
      this.#make(entry, offset, folder, name);
    }
    return done;
  }

  /** Content stays where it is; only that of a file with holes is moved, when all is there. */
  write({ bytes, at, offset }: TarData): void {
    if (this.#pieces === undefined || offset === undefined) return;
    const last = this.#pieces.at(-1);
    if (last !== undefined && last.at + last.length === at && last.offset + last.length === offset) {
      last.length += bytes.length;
    } else this.#pieces.push({ at, offset, length: bytes.length });
  }

  async finish(slice: Slice): Promise<void> {
    for (const [node, pieces] of this.#sparse) {
      const to = node.at = this.#image.reserve(node.size ?? 0);
      for (const { at, offset, length } of pieces) {
        for (let moved = 0; moved < length;) {
          if (slice.over) await slice.next();
          const bytes = this.#image.read(this.#start + at + moved, Math.min(length - moved, copyBytes));
          this.#image.write(to + offset + moved, bytes);
          moved += bytes.length;
        }
      }
    }
    for (const [node, path] of this.#copied) await this.#copy(node, path, slice);
    for (const node of this.#opaque) {
      node.attributes = new Map([...node.attributes, [this.#xattrs.opaque, opaqueValue]]);
    }
    await this.#image.finish(this.#tree.root, slice);
  }

  #make(entry: TarEntry, offset: number, folder: TreeFolder, name: ByteString): void {
    const { children } = folder.node;
    if (entry.type === "directory") {
      const there = children.get(name);
      const node = there !== undefined && isFolder(there) ? there : this.#newFolder(folder, name);
      describe(node, entry);
      return;
    }
    if (entry.type === "hardlink") return this.#link(entry, folder, name);
    const node: ErofsNode = { mode: types[entry.type], uid: 0, gid: 0, modified: epoch, attributes: none };
    describe(node, entry);
    children.set(name, node);
    if (entry.type === "symlink") {
      if (entry.link === "") throw refused(entry.path, "the symbolic link", "it has no target");
      node.mode = S_IFLNK | 0o777;
      node.target = entry.link;
    } else if (entry.type === "file") {
      node.size = entry.size;
      node.at = this.#start + offset;
      if (entry.sparse !== true) return;
      // Who copies it may fill its holes.
      this.#budget.bytes(entry.size);
      this.#sparse.set(node, this.#pieces = []);
    } else if (entry.type !== "fifo") {
      const { major, minor } = entry.device;
      if (major > 0xfff || minor > 0xfffff) throw refused(entry.path, "the device", `there is no ${major}:${minor}`);
      node.device = entry.device;
    }
  }

  #link(entry: TarEntry, folder: TreeFolder, name: ByteString): void {
    const target = entryPath(entry.link, `the target of the hard link ${quotePath(entry.path)},`);
    if (target === "") throw refused(entry.path, "the hard link", "it has no target");
    const [parent, base] = splitPath(target);
    const source = this.#tree.find(parent);
    if (source !== undefined && source.node === folder.node && base === name && source.node.children.has(base)) return;
    const there = source?.node.children.get(base);
    const node = there === undefined || isWhiteout(there) ? this.#copyUp(entry, target) : there;
    if (isFolder(node)) throw refused(entry.path, "the hard link", "its target is a directory");
    folder.node.children.set(name, node);
  }

  /** Brings a file of a layer below into this one, as overlayfs does before it makes a hard link to it. */
  #copyUp(entry: TarEntry, target: ByteString): ErofsNode {
    const file = this.#hides(target) ? undefined : this.#lower.find(target);
    if (file === undefined) {
      throw refused(
        entry.path,
        "the hard link",
        `its target ${quotePath(entry.link)} is neither in this layer nor below`,
      );
    }
    try {
      const { status } = file;
      if (isDirectory(status)) throw refused(entry.path, "the hard link", "its target is a directory");
      const node: ErofsNode = { ...this.#lower.attributes(file), mode: status.mode };
      if (isSymlink(status)) node.target = this.#files.readLink(file.parent, file.name);
      else if (isRegular(status)) {
        node.size = status.size;
        this.#copied.set(node, target);
      } else node.device = status.rdev;
      const [parent, base] = splitPath(target);
      this.#tree.open(parent).node.children.set(base, node);
      return node;
    } finally {
      this.#files.close(file.parent);
    }
  }

  async #copy(node: ErofsNode, path: ByteString, slice: Slice): Promise<void> {
    const file = this.#lower.find(path);
    if (file === undefined) return;
    const fd = this.#files.tryOpen(file.parent, file.name, O_RDONLY);
    this.#files.close(file.parent);
    if (fd < 0) throw refused(path, "a hard link to", "it cannot be read");
    try {
      const at = node.at = this.#image.reserve(node.size ?? 0);
      for (let moved = 0; moved < (node.size ?? 0);) {
        if (slice.over) await slice.next();
        const bytes = this.#files.read(fd, copyBytes);
        if (bytes.length === 0) return;
        this.#image.write(at + moved, bytes);
        moved += bytes.length;
      }
    } finally {
      this.#files.close(fd);
    }
  }

  /** Whether this layer hides what those below have at a path. Links are not followed: those below have the real ones. */
  #hides(path: ByteString): boolean {
    let node: ErofsNode = this.#tree.root;
    for (const name of path.split("/")) {
      if (!isFolder(node)) return true;
      if (this.#opaque.has(node)) return true;
      const child = node.children.get(name);
      if (child === undefined) return false;
      node = child;
    }
    return true;
  }

  /** A folder that the archive does not name is like the one below, or plain. */
  #makeParent(parent: TreeFolder, name: ByteString, there: ErofsNode | undefined): ErofsFolder {
    const real = joinPath(parent.path, name);
    if (there !== undefined && !isWhiteout(there)) throw refused(real, "an entry in", "it is no directory");
    this.#budget.entry();
    const node = this.#newFolder(parent, name);
    describe(node, this.#hidden.has(real) ? plainFolder : this.#lower.folderAttributes(real));
    return node;
  }

  /** A folder in place of one that this layer hides shows nothing of it. */
  #newFolder(parent: TreeFolder, name: ByteString): ErofsFolder {
    const node = emptyFolder();
    parent.node.children.set(name, node);
    if (this.#hidden.has(joinPath(parent.path, name))) this.#opaque.add(node);
    return node;
  }

  #hide({ node, path }: TreeFolder, name: ByteString, entry: TarEntry): void {
    if (name === "" || name === "." || name === "..") {
      throw refused(entry.path, "the whiteout", "it names no file");
    }
    this.#hidden.add(joinPath(path, name));
    const there = node.children.get(name);
    if (there === undefined) node.children.set(name, whiteout(entry));
    else if (isFolder(there)) this.#opaque.add(there);
  }

  /** The merged root has the attributes of the uppermost layer's, so a new one takes over its parent's. */
  #rootBelow(path: string | undefined): ErofsFolder {
    const root = emptyFolder();
    if (path === undefined) return root;
    const fd = this.#files.openFolder(path);
    const status = this.#files.stat(fd, "");
    this.#files.close(fd);
    if (status !== undefined) describe(root, { ...status, attributes: none });
    return root;
  }
}

const done = Promise.resolve();

const types = {
  file: S_IFREG,
  symlink: S_IFLNK,
  character: S_IFCHR,
  block: S_IFBLK,
  fifo: S_IFIFO,
} as const;

function emptyFolder(): ErofsFolder {
  return { mode: S_IFDIR | 0o755, uid: 0, gid: 0, modified: epoch, attributes: none, children: new Map() };
}

/** Overlayfs hides a name of the layers below with a character device 0:0. */
function whiteout({ modified }: TarEntry): ErofsNode {
  return { mode: S_IFCHR, uid: 0, gid: 0, modified, attributes: none, device: { major: 0, minor: 0 } };
}

function isWhiteout({ mode, device }: ErofsNode): boolean {
  return (mode & S_IFMT) === S_IFCHR && device?.major === 0 && device.minor === 0;
}

function describe(
  node: ErofsNode,
  { mode, uid, gid, modified, attributes }: Omit<Attributes, "attributes"> & Pick<ErofsNode, "attributes">,
): void {
  node.mode = (node.mode & S_IFMT) | (mode & 0o7777);
  [node.uid, node.gid, node.modified] = [uid, gid, modified ?? epoch];
  node.attributes = withoutOverlay(attributes);
}

function withoutOverlay(attributes: ReadonlyMap<ByteString, Uint8Array>): ReadonlyMap<ByteString, Uint8Array> {
  if (attributes.size === 0) return none;
  return new Map([...attributes].filter(([name]) => !isOverlayAttribute(name)));
}
