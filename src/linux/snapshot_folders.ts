import { mkdir, readdir, rename } from "node:fs/promises";
import { join } from "node:path";
import { codeOf, Failure } from "../core/errors.ts";
import type { SnapshotStore } from "../core/snapshotter.ts";
import { errno } from "./errno.ts";
import type { Kernel } from "./kernel.ts";
import { removeTree } from "./remove_tree.ts";

const trash = "trash-";

/**
 * The folders of a snapshotter that keeps its snapshots as files: `<root>/<id>/`, named after the snapshot's number.
 *
 * A row is made before its folder and removed before it, so a folder without a row is always rubbish. Its name changes
 * first: nobody can take half of it for a snapshot.
 */
export class SnapshotFolders {
  readonly #kernel: Kernel;
  readonly #root: string;
  /** Names that are on their way out. */
  readonly #removing = new Set<string>();

  private constructor(kernel: Kernel, root: string) {
    this.#kernel = kernel;
    this.#root = root;
  }

  static async open(kernel: Kernel, root: string): Promise<SnapshotFolders> {
    await mkdir(root, { recursive: true, mode: 0o700 });
    return new SnapshotFolders(kernel, root);
  }

  path(id: number, ...below: string[]): string {
    return join(this.#root, String(id), ...below);
  }

  /** Makes the folder of a new snapshot and others in it. @throws failed_precondition when its number has been used. */
  async create(id: number, ...below: string[]): Promise<void> {
    try {
      await mkdir(this.path(id), { mode: 0o700 });
    } catch (error) {
      if (!isErrno(error, "EEXIST")) throw diskFailure(`cannot create ${JSON.stringify(this.path(id))}`, error);
      throw new Failure(
        "failed_precondition",
        `cannot create ${JSON.stringify(this.path(id))}: it is there already, and no snapshot owns it: ` +
          `is the database older than the folder?`,
        { cause: error },
      );
    }
    for (const name of below) await mkdir(this.path(id, name), { mode: 0o755 });
  }

  /** Removes a snapshot's folder; none is no error. */
  async remove(id: number): Promise<void> {
    const [name, away] = [String(id), `${trash}${id}`];
    this.#removing.add(name).add(away);
    try {
      await rename(join(this.#root, name), join(this.#root, away));
      await removeTree(this.#kernel, join(this.#root, away));
    } catch (error) {
      if (isErrno(error, "ENOENT")) return;
      throw error instanceof Failure ? error : diskFailure(`cannot remove ${JSON.stringify(this.path(id))}`, error);
    } finally {
      this.#removing.delete(name);
      this.#removing.delete(away);
    }
  }

  /** Removes the folders that no row owns. @returns their paths. */
  async cleanup(store: SnapshotStore): Promise<readonly string[]> {
    // The folders are read first: what has a folder by now had its row before.
    const names = await readdir(this.#root);
    const owned = new Set((await store.list()).map(({ id }) => String(id)));
    const removed: string[] = [];
    for (const name of names) {
      if (owned.has(name) || this.#removing.has(name)) continue;
      this.#removing.add(name);
      try {
        await removeTree(this.#kernel, join(this.#root, name));
      } finally {
        this.#removing.delete(name);
      }
      removed.push(join(this.#root, name));
    }
    return removed;
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
