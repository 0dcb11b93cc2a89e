import { readdirSync } from "node:fs";
import { Failure } from "../core/errors.ts";
import type { Mount } from "../core/mount.ts";
import {
  AT_EMPTY_PATH,
  O_CLOEXEC,
  O_DIRECTORY,
  O_NOCTTY,
  O_NOFOLLOW,
  O_NONBLOCK,
  O_PATH,
  O_RDONLY,
  PROC_SUPER_MAGIC,
  RESOLVE_IN_ROOT,
  RESOLVE_NO_MAGICLINKS,
} from "../linux/flags.ts";
import { errno } from "../linux/errno.ts";
import type { Kernel } from "../linux/kernel.ts";
import { openDetached } from "../linux/mount/detached.ts";
import { type FileStatus, isRegular, isSymlink, readStatx, statxMask } from "../linux/statx.ts";
import { syscallFailure } from "../linux/syscall_failure.ts";

/** What `open` says where a path leads to nothing. */
const absent: ReadonlySet<number> = new Set([errno.ENOENT, errno.ENOTDIR, errno.ELOOP]);

const chunkBytes = 64 * 1024;

/**
 * The root of an image, for looking into it. An overlay is mounted nowhere: it hangs on a descriptor alone, and goes with
 * it. Paths are resolved by the kernel with this root as `/`, so that what is in an image cannot point out of it.
 */
export class ImageRoot implements Disposable {
  readonly #kernel: Kernel;
  readonly #fd: number;

  /**
   * @param mounts one `bind` or `overlay` mount, as `Snapshotter.view` returns it.
   * @throws unimplemented for mounts of another form; what mounting throws.
   */
  constructor(kernel: Kernel, mounts: readonly Mount[]) {
    this.#kernel = kernel;
    this.#fd = openDetached(kernel, mounts);
  }

  [Symbol.dispose](): void {
    this.#kernel.attempt("close", this.#fd);
  }

  /**
   * Reads a regular file as text.
   * @param path below the root; symbolic links are followed inside it.
   * @returns undefined where there is none, or something else than a regular file.
   * @throws resource_exhausted over the limit.
   */
  readText(path: string, limitBytes: number): string | undefined {
    return this.#withRegular(path, ({ size }, read) => {
      const tooLarge = () =>
        new Failure("resource_exhausted", `cannot read "${path}" of the image: it is larger than ${limitBytes} bytes`);
      if (size > limitBytes) throw tooLarge();
      const decoder = new TextDecoder();
      let text = "";
      for (let total = 0;;) {
        const chunk = read();
        if (chunk.length === 0) return text + decoder.decode();
        if ((total += chunk.length) > limitBytes) throw tooLarge();
        text += decoder.decode(chunk, { stream: true });
      }
    });
  }

  /**
   * Reads the beginning of a regular file, up to 64 KiB; one byte stands for one character.
   * @returns undefined where there is none, or something else than a regular file.
   */
  readHead(path: string): string | undefined {
    return this.#withRegular(path, (_, read) => new TextDecoder("latin1").decode(read()));
  }

  /**
   * What a name stands for; a symbolic link is not followed in its last part.
   * @returns undefined where there is nothing.
   */
  look(path: string): { readonly link: string } | "file" | "other" | undefined {
    const found = this.#open(path, O_PATH | O_NOFOLLOW);
    if (found === undefined) return undefined;
    const memory = this.#kernel.host.map(chunkBytes);
    try {
      this.#kernel.call("statx", found, "", AT_EMPTY_PATH, statxMask, memory.address);
      const status = readStatx(memory);
      if (!isSymlink(status)) return isRegular(status) ? "file" : "other";
      const length = this.#kernel.call("readlinkat", found, "", memory.address, chunkBytes);
      return { link: new TextDecoder().decode(memory.bytes.subarray(0, length)) };
    } finally {
      memory.release();
      this.#kernel.attempt("close", found);
    }
  }

  /** The names in a folder; none where there is no such folder. */
  list(path: string): readonly string[] {
    const found = this.#open(path, O_RDONLY | O_DIRECTORY | O_NONBLOCK);
    if (found === undefined) return [];
    try {
      return readdirSync(`/proc/self/fd/${found}`).sort();
    } finally {
      this.#kernel.attempt("close", found);
    }
  }

  #withRegular<T>(path: string, use: (status: FileStatus, read: () => Uint8Array) => T): T | undefined {
    const found = this.#open(path, O_PATH);
    if (found === undefined) return undefined;
    const memory = this.#kernel.host.map(chunkBytes);
    try {
      this.#kernel.call("statx", found, "", AT_EMPTY_PATH, statxMask, memory.address);
      // What is a fifo or a device is not even opened.
      const status = readStatx(memory);
      if (!isRegular(status)) return undefined;
      const file = this.#open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
      if (file === undefined) return undefined;
      try {
        // The root of what runs has a /proc: what this process reads there, the container's may not (/proc/kmsg).
        this.#kernel.call("fstatfs", file, memory.address);
        if (new DataView(memory.bytes.buffer, memory.bytes.byteOffset).getUint32(0, true) === PROC_SUPER_MAGIC) {
          return undefined;
        }
        return use(
          status,
          () => memory.bytes.subarray(0, this.#kernel.call("read", file, memory.address, chunkBytes)),
        );
      } finally {
        this.#kernel.attempt("close", file);
      }
    } finally {
      memory.release();
      this.#kernel.attempt("close", found);
    }
  }

  #open(path: string, flags: number): number | undefined {
    const how = [flags | O_CLOEXEC, 0, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS];
    const fd = this.#kernel.attempt("openat2", this.#fd, path, how, how.length * 8);
    if (fd >= 0) return fd;
    if (absent.has(-fd)) return undefined;
    throw syscallFailure(`cannot open "${path}" of the image`, "openat2", fd);
  }
}
