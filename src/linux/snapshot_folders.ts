import { access, mkdir, readdir, rename } from "node:fs/promises";
import { join } from "node:path";
import { codeOf, Failure } from "../core/errors.ts";
import { errno } from "./errno.ts";
import type { Kernel } from "./kernel.ts";
import { removeTree } from "./remove_tree.ts";

const trash = "trash-";
const unfinished = "new-";

/**
 * The folders of a snapshotter that keeps its snapshots as files: `<root>/<id>/`, named after the snapshot's number.
 *
 * A folder gets its name when it is complete, and loses it before it is removed: nobody can take half of one for a snapshot.
 */
export class SnapshotFolders {
  readonly #root: string;
  readonly #removeTree: (path: string) => Promise<void>;
  /** Names of folders that are being made. */
  readonly #making = new Set<string>();
  /** Numbers, and other names, that are on their way out. */
  readonly #removing = new Map<string, Promise<void>>();

  private constructor(root: string, removeTree: (path: string) => Promise<void>) {
    this.#root = root;
    this.#removeTree = removeTree;
  }

  /** @param options.removeTree removes a folder and all in it. Default: file by file. */
  static async open(
    kernel: Kernel,
    root: string,
    options: { readonly removeTree?: (path: string) => Promise<void> } = {},
  ): Promise<SnapshotFolders> {
    await mkdir(root, { recursive: true, mode: 0o700 });
    return new SnapshotFolders(root, options.removeTree ?? ((path) => removeTree(kernel, path)));
  }

  path(id: number, ...below: string[]): string {
    return join(this.#root, String(id), ...below);
  }

  async exists(id: number): Promise<boolean> {
    try {
      await access(this.path(id));
      return true;
    } catch (error) {
      if (isErrno(error, "ENOENT")) return false;
      throw diskFailure(`cannot look at ${JSON.stringify(this.path(id))}`, error);
    }
  }

  /**
   * Makes the folder of a new snapshot.
   * @param fill makes what is to be in it; the path is that of the folder until it is complete.
   * @throws failed_precondition when its number has been used.
   */
  async create(id: number, fill: (path: string) => Promise<void>): Promise<void> {
    const name = `${unfinished}${id}`;
    const path = join(this.#root, name);
    this.#making.add(name);
    try {
      await mkdir(path, { mode: 0o700 });
      await fill(path);
      await rename(path, this.path(id));
    } catch (error) {
      if (!isErrno(error, "EEXIST") && !isErrno(error, "ENOTEMPTY")) {
        throw error instanceof Failure ? error : diskFailure(`cannot create ${JSON.stringify(this.path(id))}`, error);
      }
      throw new Failure(
        "failed_precondition",
        `cannot create ${JSON.stringify(this.path(id))}: it is there already, and no snapshot owns it: ` +
          `is the database older than the folder? "mayfly gc" says how to go on then`,
        { cause: error },
      );
    } finally {
      this.#making.delete(name);
    }
  }

  /** Removes a snapshot's folder, complete or not; none is no error. */
  async remove(id: number): Promise<void> {
    await this.#once(String(id), async () => {
      const away = join(this.#root, `${trash}${id}`);
      try {
        await rename(this.path(id), away);
      } catch (error) {
        if (!isErrno(error, "ENOENT")) throw diskFailure(`cannot remove ${JSON.stringify(this.path(id))}`, error);
        return await this.#removeTree(join(this.#root, `${unfinished}${id}`));
      }
      await this.#removeTree(away);
    });
  }

  /**
   * Removes the folders that nobody owns.
   * @param owned asked when they have been listed: what has a folder by then had its row before.
   * @returns their paths.
   */
  async cleanup(owned: () => Promise<ReadonlySet<number>>): Promise<readonly string[]> {
    const making = new Set(this.#making);
    const names = await readdir(this.#root);
    const ids = new Set(Array.from(await owned(), String));
    const removed: string[] = [];
    for (const name of names) {
      const id = name.startsWith(trash) ? name.slice(trash.length) : name;
      if (ids.has(name) || making.has(name) || this.#making.has(name) || this.#removing.has(id)) continue;
      await this.#once(id, () => this.#removeTree(join(this.#root, name)));
      removed.push(join(this.#root, name));
    }
    return removed;
  }

  /** Two removals of one folder would be in each other's way: the second waits for the first. */
  async #once(name: string, action: () => Promise<void>): Promise<void> {
    const running = this.#removing.get(name);
    if (running !== undefined) return await running;
    const removal = action().finally(() => this.#removing.delete(name));
    this.#removing.set(name, removal);
    await removal;
  }
}

function isErrno(error: unknown, name: keyof typeof errno): boolean {
  return error instanceof Error && "code" in error && error.code === name;
}

function diskFailure(action: string, error: unknown): Failure {
  const name = error instanceof Error && "code" in error ? String(error.code) : "";
  const code = name === "ENOSPC" || name === "EDQUOT" || name === "EMFILE"
    ? "resource_exhausted"
    : name === "EACCES" || name === "EPERM"
    ? "permission_denied"
    : name === "EBUSY" || name === "EROFS"
    ? "failed_precondition"
    : codeOf(error);
  return new Failure(code, `${action}: ${error instanceof Error ? error.message : String(error)}`, {
    cause: error,
    ...(name === "" ? {} : { errno: name }),
  });
}
