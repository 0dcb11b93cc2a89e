import { type ByteString, toText } from "./byte_string.ts";
import { errno } from "./errno.ts";
import { Files } from "./files.ts";
import { O_CREAT, O_EXCL, O_RDONLY, O_WRONLY, SEEK_DATA, SEEK_HOLE } from "./flags.ts";
import type { Kernel } from "./kernel.ts";
import { Slice } from "./slice.ts";
import { type FileStatus, isDirectory, isRegular, isSymlink } from "./statx.ts";
import { syscallFailure } from "./syscall_failure.ts";
import type { SyscallName } from "./syscalls.ts";
import { Xattrs } from "./xattr.ts";

/** How much one `copy_file_range` moves before the event loop may turn. */
const rangeBytes = 1 << 20;

/**
 * Copies files with everything that belongs to them: modes, owners, times, extended attributes, holes, hard links,
 * symbolic links, device nodes, fifos. Contents are copied in the kernel and shared on disk where the filesystem can.
 */
export class TreeCopy implements Disposable {
  readonly #kernel: Kernel;
  readonly #files: Files;
  readonly #xattrs: Xattrs;
  readonly #slice: Slice;

  constructor(kernel: Kernel, signal?: AbortSignal) {
    this.#kernel = kernel;
    this.#files = new Files(kernel);
    this.#xattrs = new Xattrs(kernel);
    this.#slice = new Slice(signal);
  }

  [Symbol.dispose](): void {
    this.#files[Symbol.dispose]();
    this.#xattrs[Symbol.dispose]();
  }

  /** Copies what is in a folder, and the folder's own attributes, to one that is there and empty. */
  async folder(from: string, to: string): Promise<void> {
    const source = this.#files.openFolder(from);
    try {
      const target = this.#files.openFolder(to);
      try {
        await this.#directory(source, target, target, "", new Map());
      } finally {
        this.#files.close(target);
      }
    } finally {
      this.#files.close(source);
    }
  }

  /** Copies one file that is no directory. @throws already_exists. */
  async file(from: number, name: ByteString, to: number, toName: ByteString = name): Promise<void> {
    const status = this.#files.stat(from, name);
    if (status === undefined) return;
    await this.#node(from, name, status, to, toName);
  }

  /** Copies a directory's own attributes. Both may be named by an empty name: the open directory itself. */
  attributes(from: number, name: ByteString, to: number, toName: ByteString = name): void {
    const status = this.#files.stat(from, name);
    if (status !== undefined) this.#attributes(from, name, status, to, toName);
  }

  async #directory(
    source: number,
    target: number,
    top: number,
    path: ByteString,
    linked: Map<string, ByteString>,
  ): Promise<void> {
    const files = this.#files;
    for (let entries = files.list(source); entries !== undefined; entries = files.list(source)) {
      for (const { name } of entries) {
        if (this.#slice.over) await this.#slice.next();
        const status = files.stat(source, name);
        if (status === undefined) continue;
        const below = path === "" ? name : `${path}/${name}`;
        if (isDirectory(status)) {
          check(files.tryMakeDirectory(target, name, 0o700), "mkdirat", below);
          await this.#descend(source, target, name, (from, to) => this.#directory(from, to, top, below, linked));
          continue;
        }
        const first = status.links > 1 ? linked.get(status.identity) : undefined;
        if (first !== undefined) {
          check(files.tryLink(top, first, target, name), "linkat", below);
          continue;
        }
        if (status.links > 1) linked.set(status.identity, below);
        await this.#node(source, name, status, target, name);
      }
    }
    // Last, since what was made inside has changed the directory's times.
    this.attributes(source, "", target, "");
  }

  async #descend(
    source: number,
    target: number,
    name: ByteString,
    copy: (source: number, target: number) => Promise<void>,
  ): Promise<void> {
    const from = this.#files.openDirectory(source, name);
    try {
      const to = this.#files.openDirectory(target, name);
      try {
        await copy(from, to);
      } finally {
        this.#files.close(to);
      }
    } finally {
      this.#files.close(from);
    }
  }

  async #node(
    source: number,
    name: ByteString,
    status: FileStatus,
    target: number,
    targetName: ByteString,
  ): Promise<void> {
    const files = this.#files;
    if (isRegular(status)) {
      await this.#contents(source, name, status.size, target, targetName);
    } else if (isSymlink(status)) {
      check(files.trySymlink(target, targetName, files.readLink(source, name)), "symlinkat", targetName);
    } else {
      const { major, minor } = status.rdev;
      check(files.tryMakeNode(target, targetName, status.mode & ~0o7777 | 0o600, major, minor), "mknodat", targetName);
    }
    this.#attributes(source, name, status, target, targetName);
  }

  async #contents(source: number, name: ByteString, size: number, target: number, targetName: ByteString) {
    const files = this.#files;
    const from = check(files.tryOpen(source, name, O_RDONLY), "openat", name);
    try {
      const to = check(files.tryOpen(target, targetName, O_WRONLY | O_CREAT | O_EXCL, 0o600), "openat", targetName);
      try {
        await this.#data(from, to, size, targetName);
      } finally {
        files.close(to);
      }
    } finally {
      files.close(from);
    }
  }

  async #data(from: number, to: number, size: number, name: ByteString): Promise<void> {
    const kernel = this.#kernel;
    if (size > 0) check(kernel.attempt("ftruncate", to, size), "ftruncate", name);
    for (let at = 0; at < size;) {
      const start = kernel.attempt("lseek", from, at, SEEK_DATA);
      if (start === -errno.ENXIO) return;
      const data = start < 0 ? at : start;
      const hole = start < 0 ? size : kernel.attempt("lseek", from, data, SEEK_HOLE);
      const end = hole < 0 ? size : Math.min(hole, size);
      check(kernel.attempt("lseek", from, data, 0), "lseek", name);
      check(kernel.attempt("lseek", to, data, 0), "lseek", name);
      for (at = data; at < end;) {
        const length = Math.min(end - at, rangeBytes);
        const moved = check(kernel.attempt("copy_file_range", from, 0, to, 0, length, 0), "copy_file_range", name);
        if (moved === 0) return;
        at += moved;
        if (this.#slice.over) await this.#slice.next();
      }
    }
  }

  #attributes(source: number, name: ByteString, status: FileStatus, target: number, targetName: ByteString): void {
    const files = this.#files;
    // A change of owner clears set-id bits and capabilities, so it comes first; times are changed by all of them.
    files.chown(target, targetName, status.uid, status.gid);
    if (!isSymlink(status)) files.chmod(target, targetName, status.mode & 0o7777);
    for (const attribute of this.#xattrs.list(source, name)) {
      const value = this.#xattrs.get(source, name, attribute);
      if (value === undefined) continue;
      check(this.#xattrs.trySet(target, targetName, attribute, value), "lsetxattr", targetName);
    }
    files.setTimes(target, targetName, status.accessed, status.modified);
  }
}

function check(result: number, syscall: SyscallName, name: ByteString): number {
  if (result < 0) throw syscallFailure(`cannot copy ${JSON.stringify(toText(name))}`, syscall, result);
  return result;
}
