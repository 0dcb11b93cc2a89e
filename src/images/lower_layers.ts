import type { ByteString } from "../linux/byte_string.ts";
import type { Files } from "../linux/files.ts";
import { type FileStatus, isDirectory, type Timestamp } from "../linux/statx.ts";
import type { Xattrs } from "../linux/xattr.ts";
import { splitPath } from "./entry_path.ts";

/** What overlayfs's attribute has to hold that says: nothing of this folder shows from the layers below. */
export const opaqueValue = new Uint8Array([0x79]);

/** An archive does not speak to overlayfs itself: what it hides, it says with whiteouts. */
export function isOverlayAttribute(name: ByteString): boolean {
  return name.startsWith("trusted.overlay.") || name.startsWith("user.overlay.");
}

/** What a file gets besides its content. */
export interface Attributes {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly modified?: Timestamp;
  readonly attributes: ReadonlyMap<ByteString, Uint8Array<ArrayBuffer>>;
}

/** A file of a layer below. */
export interface LowerFile {
  /** Its open folder; closed by who asked. */
  readonly parent: number;
  readonly name: ByteString;
  readonly status: FileStatus;
}

/** The layers below one that is being unpacked: overlay layer folders, nearest first. */
export class LowerLayers {
  readonly #files: Files;
  readonly #xattrs: Xattrs;
  readonly #folders: readonly string[];

  constructor(files: Files, xattrs: Xattrs, folders: readonly string[]) {
    this.#files = files;
    this.#xattrs = xattrs;
    this.#folders = folders;
  }

  /** Finds what would show at a path with these layers stacked. @returns undefined where nothing would. */
  find(path: ByteString): LowerFile | undefined {
    for (const folder of this.#folders) {
      const root = this.#files.openFolder(folder);
      const found = this.look(root, path);
      if (typeof found === "object") return found;
      if (found === "hidden") return undefined;
    }
    return undefined;
  }

  /** What a folder that an archive does not name gets: what belongs to the one below, or nothing special. */
  folderAttributes(path: ByteString): Attributes {
    const file = this.find(path);
    if (file === undefined) return plainFolder;
    try {
      return isDirectory(file.status) ? this.attributes(file) : plainFolder;
    } finally {
      this.#files.close(file.parent);
    }
  }

  attributes({ parent, name, status: { mode, uid, gid, modified } }: LowerFile): Required<Attributes> {
    const attributes = new Map<ByteString, Uint8Array<ArrayBuffer>>();
    for (const attribute of this.#xattrs.list(parent, name)) {
      const value = this.#xattrs.get(parent, name, attribute);
      if (value !== undefined) attributes.set(attribute, value);
    }
    return { mode: mode & 0o7777, uid, gid, modified, attributes };
  }

  /**
   * Looks into one layer. `hidden` says that it hides the path of those below, `absent` that it says nothing.
   * @param root an open layer folder; it is closed.
   */
  look(root: number, path: ByteString): LowerFile | "hidden" | "absent" {
    const [parent, name] = splitPath(path);
    const below = parent === "" ? [] : parent.split("/");
    let fd = root;
    let opaque = this.#isOpaque(fd);
    let keep = false;
    try {
      for (const part of below) {
        const status = this.#files.stat(fd, part);
        if (status === undefined) return opaque ? "hidden" : "absent";
        if (!isDirectory(status)) return "hidden";
        const child = this.#files.openDirectory(fd, part);
        this.#files.close(fd);
        fd = child;
        opaque ||= this.#isOpaque(fd);
      }
      const status = this.#files.stat(fd, name);
      if (status === undefined) return opaque ? "hidden" : "absent";
      if (isWhiteout(status)) return "hidden";
      keep = true;
      return { parent: fd, name, status };
    } finally {
      if (!keep) this.#files.close(fd);
    }
  }

  #isOpaque(fd: number): boolean {
    return this.#xattrs.get(fd, "", this.#xattrs.opaque)?.[0] === 0x79;
  }
}

/** A folder of which nothing is known. */
export const plainFolder: Attributes = { mode: 0o755, uid: 0, gid: 0, attributes: new Map() };

/** Overlayfs hides a name of the layers below with a character device 0:0. */
export function isWhiteout({ mode, rdev }: FileStatus): boolean {
  return (mode & 0o170000) === 0o020000 && rdev.major === 0 && rdev.minor === 0;
}
