import type { ByteString } from "../../src/linux/byte_string.ts";
import { ErofsImage } from "../../src/linux/erofs/image.ts";
import type { ErofsFolder, ErofsNode } from "../../src/linux/erofs/inode.ts";
import { errno } from "../../src/linux/errno.ts";
import { Files } from "../../src/linux/files.ts";
import { O_RDONLY, SEEK_DATA, SEEK_HOLE } from "../../src/linux/flags.ts";
import type { Kernel } from "../../src/linux/kernel.ts";
import { Slice } from "../../src/linux/slice.ts";
import { type FileStatus, isDirectory, isRegular, isSymlink } from "../../src/linux/statx.ts";
import { syscallFailure } from "../../src/linux/syscall_failure.ts";
import { Xattrs } from "../../src/linux/xattr.ts";

const pieceBytes = 1 << 20;

/**
 * Makes an EROFS image of a folder into which an overlay has written: whiteouts stay what they are, of overlayfs's own
 * attributes the one that hides the layers below.
 */
export async function imageOfFolder(kernel: Kernel, folder: string, path: string): Promise<void> {
  using copy = new FolderCopy(kernel, path);
  await copy.run(folder);
}

class FolderCopy implements Disposable {
  readonly #kernel: Kernel;
  readonly #files: Files;
  readonly #xattrs: Xattrs;
  readonly #image: ErofsImage;
  readonly #slice = new Slice();
  /** Files with several names, by what they are on this machine. */
  readonly #linked = new Map<string, ErofsNode>();

  constructor(kernel: Kernel, path: string) {
    this.#kernel = kernel;
    this.#files = new Files(kernel);
    this.#xattrs = new Xattrs(kernel);
    this.#image = new ErofsImage(kernel, path);
  }

  [Symbol.dispose](): void {
    this.#image[Symbol.dispose]();
    this.#xattrs[Symbol.dispose]();
    this.#files[Symbol.dispose]();
  }

  async run(folder: string): Promise<void> {
    const fd = this.#files.openFolder(folder);
    try {
      await this.#image.finish(await this.#folder(fd), this.#slice);
    } finally {
      this.#files.close(fd);
    }
  }

  async #folder(fd: number): Promise<ErofsFolder> {
    const status = this.#files.stat(fd, "");
    if (status === undefined) throw syscallFailure("cannot look at a folder", "statx", -errno.ENOENT);
    const children = new Map<ByteString, ErofsNode>();
    for (const name of this.#files.names(fd)) {
      if (this.#slice.over) await this.#slice.next();
      const child = this.#files.stat(fd, name);
      if (child !== undefined) children.set(name, await this.#node(fd, name, child));
    }
    return { ...this.#attributes(fd, "", status), children };
  }

  async #node(parent: number, name: ByteString, status: FileStatus): Promise<ErofsNode> {
    if (isDirectory(status)) {
      const fd = this.#files.openDirectory(parent, name);
      try {
        return await this.#folder(fd);
      } finally {
        this.#files.close(fd);
      }
    }
    const known = status.links > 1 ? this.#linked.get(status.identity) : undefined;
    if (known !== undefined) return known;
    const node = this.#attributes(parent, name, status);
    if (status.links > 1) this.#linked.set(status.identity, node);
    if (isSymlink(status)) node.target = this.#files.readLink(parent, name);
    else if (isRegular(status)) {
      node.size = status.size;
      node.at = await this.#contents(parent, name, status.size);
    } else node.device = status.rdev;
    return node;
  }

  #attributes(parent: number, name: ByteString, { mode, uid, gid, modified }: FileStatus): ErofsNode {
    const attributes = new Map<ByteString, Uint8Array>();
    for (const attribute of this.#xattrs.list(parent, name)) {
      if (attribute.startsWith("trusted.overlay.") && attribute !== this.#xattrs.opaque) continue;
      const value = this.#xattrs.get(parent, name, attribute);
      if (value !== undefined) attributes.set(attribute, value);
    }
    return { mode, uid, gid, modified, attributes };
  }

  /** @returns where in the image it is. */
  async #contents(parent: number, name: ByteString, size: number): Promise<number> {
    const target = this.#image.reserve(size);
    const fd = this.#files.tryOpen(parent, name, O_RDONLY);
    if (fd < 0) throw syscallFailure("cannot read a file of the layer", "openat", fd);
    try {
      for (let at = 0; at < size;) {
        if (this.#slice.over) await this.#slice.next();
        // Holes stay holes; a filesystem that knows none has data everywhere.
        const data = this.#kernel.attempt("lseek", fd, at, SEEK_DATA);
        if (data === -errno.ENXIO) break;
        if (data > at) at = data;
        const hole = this.#kernel.attempt("lseek", fd, at, SEEK_HOLE);
        this.#files.seek(fd, at);
        const bytes = this.#files.read(fd, Math.min(pieceBytes, (hole > at ? hole : size) - at));
        if (bytes.length === 0) break;
        this.#image.write(target + at, bytes);
        at += bytes.length;
      }
    } finally {
      this.#files.close(fd);
    }
    return target;
  }
}
