import type { Memory } from "../core/host.ts";
import { argument, type ByteString, fromBytes } from "./byte_string.ts";
import { errno } from "./errno.ts";
import type { Kernel } from "./kernel.ts";
import { ownIds } from "./own_ids.ts";
import { syscallFailure } from "./syscall_failure.ts";

/** The kernel's limits of a value and of a list of names. */
const maxBytes = 64 << 10;

/**
 * Extended attributes of files, links not followed.
 *
 * A file is named by an open directory and a component, as everywhere; the calls of that form are new in Linux 6.13, so
 * the path goes through `/proc/self/fd`.
 * @see https://man7.org/linux/man-pages/man7/xattr.7.html
 */
export class Xattrs implements Disposable {
  /** The attribute of overlayfs that says: nothing of this folder shows from the layers below. Root's is not a user's. */
  readonly opaque: ByteString;
  readonly #kernel: Kernel;
  readonly #memory: Memory;

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
    this.opaque = ownIds(kernel).all ? "trusted.overlay.opaque" : "user.overlay.opaque";
    this.#memory = kernel.host.map(maxBytes);
  }

  [Symbol.dispose](): void {
    this.#memory.release();
  }

  /** @returns the names; none where the filesystem has no attributes. */
  list(parent: number, name: ByteString): ByteString[] {
    const { address, bytes } = this.#memory;
    const length = this.#kernel.attempt("llistxattr", argument(path(parent, name)), address, maxBytes);
    if (length === -errno.EOPNOTSUPP) return [];
    if (length < 0) throw syscallFailure("cannot list extended attributes", "llistxattr", length);
    return length === 0 ? [] : fromBytes(bytes.subarray(0, length - 1)).split("\0");
  }

  /** @returns undefined where the file has no such attribute, or the filesystem has none. */
  get(parent: number, name: ByteString, attribute: ByteString): Uint8Array<ArrayBuffer> | undefined {
    const { address, bytes } = this.#memory;
    const length = this.#kernel.attempt(
      "lgetxattr",
      argument(path(parent, name)),
      argument(attribute),
      address,
      maxBytes,
    );
    if (length === -errno.ENODATA || length === -errno.EOPNOTSUPP) return undefined;
    if (length < 0) throw syscallFailure(`cannot read the attribute ${attribute}`, "lgetxattr", length);
    return bytes.slice(0, length);
  }

  /** @returns 0, or the negative errno. */
  trySet(parent: number, name: ByteString, attribute: ByteString, value: Uint8Array): number {
    const { address, bytes } = this.#memory;
    if (value.length > maxBytes) return -errno.E2BIG;
    bytes.set(value);
    return this.#kernel.attempt(
      "lsetxattr",
      argument(path(parent, name)),
      argument(attribute),
      address,
      value.length,
      0,
    );
  }
}

function path(parent: number, name: ByteString): ByteString {
  // An empty name is the directory itself: the dot keeps the link of /proc from being the file that is meant.
  return `/proc/self/fd/${parent}/${name === "" ? "." : name}`;
}
