import type { ByteString } from "../linux/byte_string.ts";
import { type ErofsFolder, type ErofsNode, isFolder } from "../linux/erofs/inode.ts";
import { joinPath, maxDepth, refused } from "./entry_path.ts";

const maxLinks = 40;
const maxNameBytes = 255;
/** Leaves room for what a snapshotter puts before it, below the kernel's 4096. */
const maxPathBytes = 3900;

/** A folder of the tree, and its real path below the root: no symbolic links in it, empty for the root. */
export interface TreeFolder {
  readonly node: ErofsFolder;
  readonly path: ByteString;
}

/** A layer's tree in memory. Paths are resolved as the kernel would, were the root `/`. */
export class LayerTree {
  readonly root: ErofsFolder;
  readonly #create: (parent: TreeFolder, name: ByteString, there: ErofsNode | undefined) => ErofsFolder;

  /**
   * @param create makes a missing folder; `there` is what has its name and is neither folder nor link. It throws where that
   * has to stay.
   */
  constructor(
    root: ErofsFolder,
    create: (parent: TreeFolder, name: ByteString, there: ErofsNode | undefined) => ErofsFolder,
  ) {
    this.root = root;
    this.#create = create;
  }

  /** Finds a folder; what is missing on the way is made. */
  open(path: ByteString): TreeFolder {
    const found = this.#walk(path, true);
    if (found === undefined) throw refused(path, "an entry in", "too many symbolic links lead there");
    return found;
  }

  /** @returns undefined where it is not there. */
  find(path: ByteString): TreeFolder | undefined {
    return this.#walk(path, false);
  }

  #walk(path: ByteString, create: boolean): TreeFolder | undefined {
    const trail: TreeFolder[] = [];
    let here: TreeFolder = { node: this.root, path: "" };
    const pending = path === "" ? [] : path.split("/").reverse();
    let links = 0;
    for (let name = pending.pop(); name !== undefined; name = pending.pop()) {
      if (name === "" || name === ".") continue;
      if (name === "..") {
        here = trail.pop() ?? here;
        continue;
      }
      let child = here.node.children.get(name);
      if (child?.target !== undefined) {
        if (++links > maxLinks) return undefined;
        pending.push(...child.target.split("/").reverse());
        if (!child.target.startsWith("/")) continue;
        here = trail[0] ?? here;
        trail.length = 0;
        continue;
      }
      const next: ByteString = joinPath(here.path, name);
      if (child === undefined || !isFolder(child)) {
        if (!create) return undefined;
        checkName(name, path);
        if (next.length > maxPathBytes) {
          throw refused(path, "an entry in", `a name there has over ${maxPathBytes} bytes`);
        }
        if (next.split("/").length > maxDepth) {
          throw refused(path, "an entry in", `it has more than ${maxDepth} folders`);
        }
        child = this.#create(here, name, child);
      }
      if (!isFolder(child)) return undefined;
      trail.push(here);
      here = { node: child, path: next };
    }
    return here;
  }
}

/** @throws invalid_argument for a name that no filesystem takes. */
export function checkName(name: ByteString, path: ByteString): void {
  if (name.length > maxNameBytes) {
    throw refused(path, "the entry", `a name in it is too long: over ${maxNameBytes} bytes`);
  }
}
