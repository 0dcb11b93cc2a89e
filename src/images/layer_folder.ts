import { Failure } from "../core/errors.ts";
import { type ByteString, toText } from "../linux/byte_string.ts";
import { TreeCopy } from "../linux/copy_tree.ts";
import { errno } from "../linux/errno.ts";
import { Files } from "../linux/files.ts";
import { O_CREAT, O_EXCL, O_WRONLY, S_IFBLK, S_IFCHR, S_IFIFO } from "../linux/flags.ts";
import type { Kernel } from "../linux/kernel.ts";
import { kernelRead } from "../linux/kernel_read.ts";
import { removeEntry } from "../linux/remove_tree.ts";
import type { Slice } from "../linux/slice.ts";
import { type FileStatus, isDirectory, isSymlink, type Timestamp } from "../linux/statx.ts";
import { syscallFailure } from "../linux/syscall_failure.ts";
import type { SyscallName } from "../linux/syscalls.ts";
import { Xattrs } from "../linux/xattr.ts";
import type { Budget } from "./budget.ts";
import { Directories, type OpenDirectory } from "./directories.ts";
import { entryPath, joinPath, quotePath, refused, splitPath } from "./entry_path.ts";
import type { LayerSink } from "./layer_sink.ts";
import {
  type Attributes,
  isOverlayAttribute,
  isWhiteout,
  LowerLayers,
  opaqueValue,
  plainFolder,
} from "./lower_layers.ts";
import type { TarEntry } from "./tar_header.ts";
import type { TarData } from "./tar_reader.ts";
import { whiteoutOf } from "./whiteout.ts";

export interface LayerFolderOptions {
  /** The folder, or an open one, which stays open. */
  readonly path: string | number;
  /** Whether the folder holds the whole tree: whiteouts remove then, instead of being kept. */
  readonly whole: boolean;
  /** The folders of the layers below, nearest first. */
  readonly below: readonly string[];
  readonly budget: Budget;
  /** Whether names that mean whiteouts in a layer are names like others. Default false. */
  readonly plain?: boolean;
  /** Whether a folder may become a file, and a file a folder. Default true. */
  readonly replace?: boolean;
}

/**
 * A layer as files: entries of an archive are made in a snapshot's folder, as the layers below would have them changed.
 *
 * Nothing outside the folder can be reached: names are single components below directories that were opened inside it.
 * Usage: `add` each entry, `write` its content, `finish` once.
 * @see https://github.com/opencontainers/image-spec/blob/v1.1.0/layer.md
 */
export class LayerFolder implements LayerSink, Disposable {
  readonly #kernel: Kernel;
  readonly #files: Files;
  readonly #xattrs: Xattrs;
  readonly #whole: boolean;
  readonly #plain: boolean;
  readonly #replace: boolean;
  readonly #budget: Budget;
  readonly #directories: Directories;
  readonly #lower: LowerLayers;
  readonly #root: number;
  /** The bits that the kernel takes from a new file's mode, where all is new and root's: what is so already is not set again. */
  readonly #umask: number | undefined;
  /** Attributes of directories, set when nothing is made in them any more. */
  readonly #deferred = new Map<ByteString, Attributes>();
  /** When directories of a whole tree were changed last before this layer, which says nothing of them but what is in them. */
  readonly #before = new Map<ByteString, Timestamp>();
  /** Names that this layer hides from those below (kept as whiteouts; not where the folder is whole). */
  readonly #hidden = new Set<ByteString>();
  /** What this layer made, where the folder is whole: whiteouts concern only what was there before. */
  readonly #made = new Set<ByteString>();
  #open:
    | { readonly fd: number; readonly directory: OpenDirectory; readonly name: ByteString; readonly entry: TarEntry }
    | undefined;

  constructor(kernel: Kernel, { path, whole, below, budget, plain = false, replace = true }: LayerFolderOptions) {
    this.#kernel = kernel;
    this.#files = new Files(kernel);
    this.#xattrs = new Xattrs(kernel);
    this.#whole = whole;
    this.#plain = plain;
    this.#replace = replace;
    this.#budget = budget;
    this.#umask = whole || plain || !this.#files.ids.all ? undefined : umaskOf(kernel);
    this.#lower = new LowerLayers(this.#files, this.#xattrs, whole ? [] : below);
    this.#root = typeof path === "string" ? this.#files.openFolder(path) : this.#files.openDirectory(path, ".");
    this.#directories = new Directories(this.#files, this.#root, (parent, name, there) => {
      this.#makeParent(parent, name, there);
    });
  }

  [Symbol.dispose](): void {
    if (this.#open !== undefined) this.#files.close(this.#open.fd);
    this.#directories[Symbol.dispose]();
    this.#xattrs[Symbol.dispose]();
    this.#files[Symbol.dispose]();
  }

  /**
   * Makes an entry; what has its name goes, unless both are directories.
   * @throws invalid_argument for one that leads out of the root; what else the kernel says, naming the entry.
   */
  async add(entry: TarEntry): Promise<void> {
    this.#close();
    this.#budget.entry();
    const path = entryPath(entry.path);
    if (path === "") {
      if (entry.type !== "directory") throw refused(entry.path, "the entry", "it is the root, and no directory");
      this.#defer("", entry);
      return;
    }
    const [parent, name] = splitPath(path);
    const whiteout = this.#plain ? undefined : whiteoutOf(path);
    if (whiteout?.hides === "nothing") return;
    if (whiteout?.hides === "all") return await this.#hideAll(parent);
    if (whiteout?.hides === "name") return await this.#hide(parent, whiteout.name, entry.path);
    const directory = this.#directories.open(parent);
    const real = joinPath(directory.path, name);
    this.#keepTime(directory);
    if (this.#whole) this.#mark(real);
    await this.#make(entry, directory, name, real);
  }

  /** Keeps what a directory gets in the end, and no more of its entry: there may be a million of them. */
  #defer(path: ByteString, { mode, uid, gid, modified, attributes }: TarEntry): void {
    this.#deferred.set(path, { mode, uid, gid, modified, attributes });
  }

  /** Writes a piece of the content of the last entry. */
  write({ bytes, offset }: TarData): void {
    if (this.#open === undefined) return;
    if (offset !== undefined) this.#files.seek(this.#open.fd, offset);
    this.#files.write(this.#open.fd, bytes);
  }

  /** Sets what had to wait until all was made. */
  async finish(slice: Slice): Promise<void> {
    this.#close();
    const deferred = [...this.#deferred.keys()];
    for (let path = deferred.pop(); path !== undefined; path = deferred.pop()) {
      if (slice.over) await slice.next();
      const attributes = this.#deferred.get(path);
      const directory = this.#directories.find(path);
      // Another entry may have replaced it.
      if (attributes === undefined || directory === undefined || directory.path !== path) continue;
      this.#attributes(directory.fd, "", attributes);
    }
    for (const [path, modified] of this.#before) {
      if (slice.over) await slice.next();
      const directory = this.#deferred.has(path) ? undefined : this.#directories.find(path);
      if (directory?.path === path) this.#files.setTimes(directory.fd, "", modified, modified);
    }
    this.#deferred.clear();
    this.#before.clear();
  }

  async #make(entry: TarEntry, directory: OpenDirectory, name: ByteString, real: ByteString): Promise<void> {
    const { fd } = directory;
    switch (entry.type) {
      case "file": {
        // Who copies it may fill its holes.
        if (entry.sparse === true) this.#budget.bytes(entry.size);
        const mode = this.#umask === undefined ? 0o600 : entry.mode & 0o777;
        const create = () => this.#files.tryOpen(fd, name, O_WRONLY | O_CREAT | O_EXCL, mode);
        this.#open = { fd: await this.#place(entry, "openat", directory, name, create), directory, name, entry };
        if (entry.size === 0) this.#close();
        return;
      }
      case "directory": {
        const there = this.#files.tryMakeDirectory(fd, name, 0o700);
        if (there === -errno.EEXIST) {
          const status = this.#files.stat(fd, name);
          if (status !== undefined && !isDirectory(status)) {
            await this.#place(entry, "mkdirat", directory, name, () => this.#files.tryMakeDirectory(fd, name, 0o700));
            this.#madeDirectory(directory, name, real);
          }
        } else {
          check(there, "mkdirat", entry.path);
          this.#madeDirectory(directory, name, real);
        }
        this.#defer(real, entry);
        return;
      }
      case "hardlink":
        return await this.#link(entry, directory, name, real);
      case "symlink":
        if (entry.link === "") throw refused(entry.path, "the symbolic link", "it has no target");
        await this.#place(entry, "symlinkat", directory, name, () => this.#files.trySymlink(fd, name, entry.link));
        break;
      default: {
        // Only the machine's root makes devices: for others, containers have the usual ones in their own /dev.
        if (entry.type !== "fifo" && !this.#files.ids.all) return;
        const type = { character: S_IFCHR, block: S_IFBLK, fifo: S_IFIFO }[entry.type];
        const { major, minor } = entry.device;
        const create = () => this.#files.tryMakeNode(fd, name, type | 0o600, major, minor);
        await this.#place(entry, "mknodat", directory, name, create);
      }
    }
    this.#attributes(fd, name, entry, entry.type === "symlink");
  }

  /** Makes something where nothing may be: what is there goes. @returns the call's result. */
  async #place(
    entry: TarEntry,
    syscall: SyscallName,
    directory: OpenDirectory,
    name: ByteString,
    create: () => number,
  ): Promise<number> {
    let result = create();
    if (result === -errno.EEXIST) {
      if (!this.#replace) this.#checkKind(entry, directory, name);
      await this.#remove(directory, name);
      result = create();
    }
    return check(result, syscall, entry.path);
  }

  /** Where a layer is laid over others, the directory below keeps its time by itself. */
  #keepTime({ fd, path }: OpenDirectory): void {
    if (!this.#whole || this.#plain || this.#deferred.has(path) || this.#before.has(path)) return;
    const status = this.#files.stat(fd, "");
    if (status !== undefined) this.#before.set(path, status.modified);
  }

  #checkKind(entry: TarEntry, { fd }: OpenDirectory, name: ByteString): void {
    const status = this.#files.stat(fd, name);
    if (status === undefined || isDirectory(status) === (entry.type === "directory")) return;
    const [is, wanted] = isDirectory(status) ? ["a folder", "no folder"] : ["no folder", "a folder"];
    throw new Failure(
      "already_exists",
      `cannot unpack ${quotePath(entry.path)}: what is there is ${is}, the entry is ${wanted}`,
      { details: { path: toText(entry.path) } },
    );
  }

  async #remove(directory: OpenDirectory, name: ByteString): Promise<void> {
    const status = this.#files.stat(directory.fd, name);
    if (status === undefined) return;
    await removeEntry(this.#files, directory.fd, name);
    // Opened paths may lead through it. The one in use stays open: it is not below what was removed.
    if (isDirectory(status) || isSymlink(status)) this.#directories.forget(directory);
  }

  async #link(entry: TarEntry, directory: OpenDirectory, name: ByteString, real: ByteString): Promise<void> {
    const target = entryPath(entry.link, `the target of the hard link ${quotePath(entry.path)},`);
    if (target === "") throw refused(entry.path, "the hard link", "it has no target");
    const [parent, base] = splitPath(target);
    const source = this.#directories.find(parent);
    if (source !== undefined && joinPath(source.path, base) === real) return;
    const there = source === undefined ? undefined : this.#files.stat(source.fd, base);
    if (there === undefined || (!this.#whole && isWhiteout(there))) await this.#copyUp(entry, target);
    await this.#place(entry, "linkat", directory, name, () => {
      // Looked up anew each time: what is removed to make place closes directories.
      const from = this.#directories.find(parent);
      return from === undefined ? -errno.ENOENT : this.#files.tryLink(from.fd, base, directory.fd, name);
    });
  }

  /** Brings a file of a layer below into this one, as overlayfs does before it makes a hard link to it. */
  async #copyUp(entry: TarEntry, target: ByteString): Promise<void> {
    const [parent, base] = splitPath(target);
    const mine = this.#lower.look(this.#files.openDirectory(this.#root, "."), target);
    const file = mine === "absent" ? this.#lower.find(target) : undefined;
    if (typeof mine === "object") this.#files.close(mine.parent);
    if (file === undefined) {
      throw refused(
        entry.path,
        "the hard link",
        `its target ${quotePath(entry.link)} is neither in this layer nor below`,
      );
    }
    try {
      if (isDirectory(file.status)) throw refused(entry.path, "the hard link", "its target is a directory");
      const directory = this.#directories.open(parent);
      using copy = new TreeCopy(this.#kernel);
      await copy.file(file.parent, file.name, directory.fd, base);
    } finally {
      this.#files.close(file.parent);
    }
  }

  /** A directory that the archive does not name is like the one below, or plain. */
  #makeParent(parent: OpenDirectory, name: ByteString, there: FileStatus | undefined): void {
    const real = joinPath(parent.path, name);
    if (there !== undefined) {
      if (this.#whole || !isWhiteout(there)) throw refused(real, "an entry in", "it is no directory");
      check(this.#files.tryUnlink(parent.fd, name), "unlinkat", real);
    }
    this.#budget.entry();
    this.#keepTime(parent);
    check(this.#files.tryMakeDirectory(parent.fd, name, 0o700), "mkdirat", real);
    if (this.#whole) this.#mark(real);
    this.#madeDirectory(parent, name, real);
    this.#deferred.set(real, this.#hidden.has(real) ? plainFolder : this.#lower.folderAttributes(real));
  }

  /** A directory in place of one that this layer hides shows nothing of it. */
  #madeDirectory(parent: OpenDirectory, name: ByteString, real: ByteString): void {
    if (this.#hidden.has(real)) this.#setOpaque(parent.fd, name);
  }

  #setOpaque(fd: number, name: ByteString): void {
    const result = this.#xattrs.trySet(fd, name, this.#xattrs.opaque, opaqueValue);
    if (result < 0) throw syscallFailure(`cannot hide the layers below ${quotePath(name)}`, "lsetxattr", result);
  }

  async #hide(parent: ByteString, name: ByteString, entry: ByteString): Promise<void> {
    if (name === "" || name === "." || name === "..") throw refused(entry, "the whiteout", "it names no file");
    if (this.#whole) {
      const directory = this.#directories.find(parent);
      if (directory !== undefined) await this.#clear(directory, name);
      return;
    }
    const directory = this.#directories.open(parent);
    this.#hidden.add(joinPath(directory.path, name));
    const there = this.#files.stat(directory.fd, name);
    if (there === undefined) {
      check(this.#files.tryMakeNode(directory.fd, name, S_IFCHR, 0, 0), "mknodat", entry);
    } else if (isDirectory(there)) {
      this.#setOpaque(directory.fd, name);
    }
  }

  async #hideAll(parent: ByteString): Promise<void> {
    if (!this.#whole) return this.#setOpaque(this.#directories.open(parent).fd, "");
    const directory = this.#directories.find(parent);
    if (directory === undefined) return;
    for (const name of this.#files.names(directory.fd)) await this.#clear(directory, name);
  }

  /** Removes what the layers below put at a name, and keeps what this layer made there. */
  async #clear(parent: OpenDirectory, name: ByteString): Promise<void> {
    const real = joinPath(parent.path, name);
    this.#keepTime(parent);
    if (!this.#made.has(real)) return await this.#remove(parent, name);
    const status = this.#files.stat(parent.fd, name);
    if (status === undefined || !isDirectory(status)) return;
    const fd = this.#files.openDirectory(parent.fd, name);
    try {
      for (const child of this.#files.names(fd)) await this.#clear({ fd, path: real }, child);
    } finally {
      this.#files.close(fd);
    }
  }

  #mark(path: ByteString): void {
    for (let at = path; at !== "" && !this.#made.has(at); [at] = splitPath(at)) this.#made.add(at);
  }

  /** Ends the file that is being written. */
  #close(): void {
    const open = this.#open;
    if (open === undefined) return;
    this.#open = undefined;
    try {
      // What comes last may be a hole.
      if (open.entry.sparse === true) this.#files.truncate(open.fd, open.entry.size);
      this.#attributes(open.fd, "", open.entry, false, open);
    } finally {
      this.#files.close(open.fd);
    }
  }

  /** A change of owner clears set-id bits and capabilities, so it comes first; times are changed by all of them. */
  #attributes(
    fd: number,
    name: ByteString,
    { uid, gid, mode, attributes, modified }: Attributes,
    link = false,
    file?: { readonly directory: OpenDirectory; readonly name: ByteString },
  ): void {
    const umask = file === undefined ? undefined : this.#umask;
    if (umask === undefined || uid !== 0 || gid !== 0) this.#files.chown(fd, name, uid, gid);
    if (!link && (umask === undefined || (mode & (0o7000 | umask)) !== 0)) this.#files.chmod(fd, name, mode & 0o7777);
    for (const [attribute, value] of attributes) {
      if (isOverlayAttribute(attribute)) continue;
      const result = file === undefined
        ? this.#xattrs.trySet(fd, name, attribute, value)
        : this.#xattrs.trySet(file.directory.fd, file.name, attribute, value);
      if (result === 0 || result === -errno.EOPNOTSUPP) continue;
      // Those are root's alone to give.
      if (result === -errno.EPERM && !this.#files.ids.all && /^(?:trusted|security)\./.test(attribute)) continue;
      throw syscallFailure(
        `cannot set the attribute ${JSON.stringify(toText(attribute))} of ${quotePath(file?.name ?? name)}`,
        "lsetxattr",
        result,
      );
    }
    if (modified !== undefined) this.#files.setTimes(fd, name, modified, modified);
  }
}

/** @see https://man7.org/linux/man-pages/man5/proc_pid_status.5.html */
function umaskOf(kernel: Kernel): number {
  return parseInt(/^Umask:\s+([0-7]+)$/m.exec(kernelRead(kernel, "/proc/self/status"))?.[1] ?? "777", 8);
}

function check(result: number, syscall: SyscallName, path: ByteString): number {
  if (result < 0) throw syscallFailure(`cannot unpack ${quotePath(path)}`, syscall, result);
  return result;
}
