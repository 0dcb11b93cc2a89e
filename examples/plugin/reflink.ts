/**
 * A snapshotter that is no part of Mayfly: whole trees, copied by `cp --reflink=auto`, so that on btrfs and XFS a copy shares
 * its blocks with what it was made of.
 *
 *     mayfly serve --plugin-modules $PWD/examples/plugin/reflink.ts
 *     mayfly plugins
 *     mayfly deploy hello --image busybox --snapshotter reflink -- echo hello
 *
 * Types alone come from `mayfly/plugin` for nothing; where a plugin lies elsewhere and takes values from it too, as this one
 * does, `npm install /path/to/mayfly` beside it makes the name known. A package for Node is JavaScript: Node takes no types
 * out of what is in `node_modules`.
 */
import { execFile } from "node:child_process";
import { access, mkdir, readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import {
  type Metadata,
  type Mount,
  type Plugin,
  RecordedSnapshotter,
  type SnapshotFiles,
  type SnapshotFolder,
  type Snapshotter,
  type SnapshotUsage,
} from "mayfly/plugin";

const run = promisify(execFile);

/** The files of snapshots, `<number>/fs` each; what is known of them is in Mayfly's database. */
class ReflinkFiles implements SnapshotFiles {
  readonly #root: string;

  constructor(root: string) {
    this.#root = root;
  }

  /** A folder gets its name when it is complete, so that what a crash leaves is told from a snapshot. */
  async create(id: number, [parent]: readonly number[]): Promise<void> {
    const unfinished = join(this.#root, `new-${id}`);
    await mkdir(join(unfinished, "fs"), { recursive: true });
    if (parent !== undefined) {
      await run("cp", ["--archive", "--reflink=auto", `${this.#path(parent)}/.`, join(unfinished, "fs")]);
    }
    await rename(unfinished, join(this.#root, String(id)));
  }

  async exists(id: number): Promise<boolean> {
    return await access(this.#path(id)).then(() => true, () => false);
  }

  /** A view has no files of its own: it is its parent's tree, read only. */
  mounts({ kind, id }: { kind: "active" | "view"; id: number }, [parent]: readonly number[]): Mount[] {
    return kind === "active" || parent === undefined
      ? [{ type: "bind", source: this.#path(id), options: ["rbind", "rw"] }]
      : [{ type: "bind", source: this.#path(parent), options: ["rbind", "ro"] }];
  }

  folder(id: number, [parent]: readonly number[]): SnapshotFolder {
    return { path: this.#path(id), whole: true, below: parent === undefined ? [] : [this.#path(parent)] };
  }

  async usage(id: number): Promise<SnapshotUsage> {
    const count = async (what: string) => Number.parseInt((await run("du", ["-s", what, this.#path(id)])).stdout);
    return { bytes: await count("--block-size=1"), inodes: await count("--inodes") };
  }

  async remove(id: number): Promise<void> {
    for (const name of [String(id), `new-${id}`]) {
      await rm(join(this.#root, name), { recursive: true, force: true });
    }
  }

  async cleanup(owned: () => Promise<ReadonlySet<number>>): Promise<readonly string[]> {
    const names = await readdir(this.#root);
    const rows = await owned();
    const lost = names.filter((name) => !rows.has(Number(name.replace("new-", "")))).map((name) =>
      join(this.#root, name)
    );
    for (const path of lost) await rm(path, { recursive: true, force: true });
    return lost;
  }

  #path(id: number): string {
    return join(this.#root, String(id), "fs");
  }
}

export const reflink: Plugin<Snapshotter> = {
  kind: "snapshotter",
  id: "reflink",
  contract: 1,
  requires: ["metadata"],
  async probe() {
    const { stdout } = await run("cp", ["--help"]);
    if (stdout.includes("--reflink")) return { available: true };
    return { available: false, reason: "this machine's cp has no --reflink: install GNU coreutils" };
  },
  async create({ root, log, get }) {
    const folder = join(root, "snapshots", "reflink");
    await mkdir(folder, { recursive: true, mode: 0o700 });
    log.debug("keeps its snapshots", { folder });
    const store = get<Metadata>("metadata").snapshots("reflink");
    return new RecordedSnapshotter({ id: "reflink", scratch: true, store, files: new ReflinkFiles(folder) });
  },
};
