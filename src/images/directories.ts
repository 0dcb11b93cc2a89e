import type { ByteString } from "../linux/byte_string.ts";
import { errno } from "../linux/errno.ts";
import type { Files } from "../linux/files.ts";
import { type FileStatus, isDirectory, isSymlink } from "../linux/statx.ts";
import { syscallFailure } from "../linux/syscall_failure.ts";
import { joinPath, maxDepth, refused } from "./entry_path.ts";

const maxOpen = 64;
const maxLinks = 40;
/** Leaves room for what a snapshotter puts before it, below the kernel's 4096. */
const maxPathBytes = 3900;

/** An open directory of a layer. Its descriptor is valid until others have been opened many times, or `forget`. */
export interface OpenDirectory {
  readonly fd: number;
  /** Its real path below the root, no symbolic links in it; empty for the root. */
  readonly path: ByteString;
}

/**
 * Opens the directories in which entries are made. Paths are resolved as if the layer's folder were `/`, by the kernel
 * where all is there, and step by step where something is missing.
 */
export class Directories implements Disposable {
  readonly #files: Files;
  readonly #root: number;
  readonly #create: (parent: OpenDirectory, name: ByteString, there: FileStatus | undefined) => void;
  readonly #open = new Map<ByteString, OpenDirectory>();

  /**
   * @param root the layer's folder; closed with this object.
   * @param create makes a missing directory; `there` is what has its name and is neither directory nor link. It throws
   * where that has to stay.
   */
  constructor(
    files: Files,
    root: number,
    create: (parent: OpenDirectory, name: ByteString, there: FileStatus | undefined) => void,
  ) {
    this.#files = files;
    this.#root = root;
    this.#create = create;
  }

  [Symbol.dispose](): void {
    this.forget();
    this.#files.close(this.#root);
  }

  /** Opens a directory; what is missing on the way is made. */
  open(path: ByteString): OpenDirectory {
    return this.#known(path) ?? this.#add(path, this.#walk(path));
  }

  /** Opens a directory; undefined where it is not there. */
  find(path: ByteString): OpenDirectory | undefined {
    return this.#known(path);
  }

  /**
   * Closes all: a directory or link was removed, so that a path may lead elsewhere now.
   * @param except one that is in use.
   */
  forget(except?: OpenDirectory): void {
    for (const [path, directory] of this.#open) {
      if (directory === except) continue;
      this.#files.close(directory.fd);
      this.#open.delete(path);
    }
  }

  #known(path: ByteString): OpenDirectory | undefined {
    const open = this.#open.get(path);
    if (open !== undefined) {
      // To the end of the queue: what was used last is closed last.
      this.#open.delete(path);
      this.#open.set(path, open);
      return open;
    }
    const fd = this.#files.tryOpenInRoot(this.#root, path);
    return fd < 0 ? undefined : this.#add(path, fd);
  }

  #add(path: ByteString, fd: number): OpenDirectory {
    const real = this.#files.pathBelow(this.#root, fd);
    const directory = { fd, path: real };
    // The oldest goes; archives list a folder's files together.
    const oldest = this.#open.size < maxOpen ? undefined : this.#open.entries().next().value;
    if (oldest !== undefined) {
      this.#files.close(oldest[1].fd);
      this.#open.delete(oldest[0]);
    }
    this.#open.set(path, directory);
    return directory;
  }

  #walk(path: ByteString): number {
    const files = this.#files;
    const pending = path.split("/").reverse();
    let here: ByteString = "";
    let fd = this.#reopen(here, path);
    let links = 0;
    try {
      for (let name = pending.pop(); name !== undefined; name = pending.pop()) {
        if (name === "" || name === ".") continue;
        let next: ByteString = joinPath(here, name);
        if (name === "..") {
          next = here.includes("/") ? here.slice(0, here.lastIndexOf("/")) : "";
        } else {
          const status = files.stat(fd, name);
          if (status !== undefined && isSymlink(status)) {
            if (++links > maxLinks) throw refused(path, "an entry in", "too many symbolic links lead there");
            const target = files.readLink(fd, name);
            pending.push(...target.split("/").reverse());
            if (!target.startsWith("/")) continue;
            next = "";
          } else if (status === undefined || !isDirectory(status)) {
            if (next.length > maxPathBytes) {
              throw refused(path, "an entry in", `a name there has over ${maxPathBytes} bytes`);
            }
            if (next.split("/").length > maxDepth) {
              throw refused(path, "an entry in", `it has more than ${maxDepth} folders`);
            }
            this.#create({ fd, path: here }, name, status);
          }
        }
        const child = this.#reopen(next, path);
        files.close(fd);
        fd = child;
        here = next;
      }
      return fd;
    } catch (error) {
      files.close(fd);
      throw error;
    }
  }

  #reopen(real: ByteString, path: ByteString): number {
    const fd = this.#files.tryOpenInRoot(this.#root, real);
    if (fd >= 0) return fd;
    if (fd === -errno.ENAMETOOLONG) throw refused(path, "an entry in", "a name there is too long");
    throw syscallFailure(`cannot open the folder of ${JSON.stringify(real)}`, "openat2", fd);
  }
}
