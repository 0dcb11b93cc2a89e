import { codeOf, Failure } from "./errors.ts";
import type { LabelChanges } from "./labels.ts";
import type { Mount } from "./mount.ts";
import type {
  SnapshotFilter,
  SnapshotFolder,
  SnapshotInfo,
  SnapshotOptions,
  SnapshotStore,
  Snapshotter,
  SnapshotUsage,
} from "./snapshotter.ts";

/**
 * What a snapshotter that keeps its snapshots as files has of its own. A snapshot is given by its number, and by those of
 * its parents, nearest first.
 */
export interface SnapshotFiles {
  /** Makes the files of an active snapshot: all of them, or after a crash none that `exists` tells of. */
  create(id: number, parents: readonly number[]): Promise<void>;
  /** Whether `create` came to its end. */
  exists(id: number): Promise<boolean>;
  /** Makes ready what `mounts` names; called where it may have been mounted before. */
  reopen?(id: number): Promise<void>;
  /** Makes committed layers visible where `mounts` and `folder` say that they are. */
  ready?(ids: readonly number[]): Promise<void>;
  mounts(snapshot: { readonly kind: "active" | "view"; readonly id: number }, parents: readonly number[]): Mount[];
  folder(id: number, parents: readonly number[]): SnapshotFolder;
  /** Makes what a committed one needs, before it is recorded as one. May be called again after a crash. */
  finish?(id: number): Promise<void>;
  /** Gives up what only an active snapshot needs. May be called again for one that is committed. */
  seal?(id: number): Promise<void>;
  /** @param options.leaf whether nothing is built on it. */
  usage(id: number, parents: readonly number[], options: { readonly leaf: boolean }): Promise<SnapshotUsage>;
  /** Removes the files of a snapshot; none is no error. */
  remove(id: number): Promise<void>;
  /** As `Snapshotter.cleanup`. @param owned asked when the folders have been listed. */
  cleanup(owned: () => Promise<ReadonlySet<number>>): Promise<readonly string[]>;
  /** Takes back what `ready` did, for those that nothing stands on and that were not asked for since the last call. */
  release?(used: ReadonlySet<number>): void;
  /** Takes back all that `ready` did. */
  close?(): void;
}

/**
 * A snapshotter whose rows are in the metadata and whose files are its own affair. A row is made before the files and removed
 * before them: files without a row are always rubbish, and a row without files is what a crash left.
 */
export class RecordedSnapshotter implements Snapshotter, Disposable {
  readonly id: string;
  readonly scratch: boolean;
  readonly #store: SnapshotStore;
  readonly #files: SnapshotFiles;
  /** The numbers of a committed snapshot and its parents, nearest first, by key. What is committed does not change. */
  readonly #chains = new Map<string, readonly number[]>();
  /** Active snapshots that were made by this one, whole. */
  readonly #prepared = new Map<string, SnapshotInfo>();

  constructor({ id, scratch, store, files }: {
    readonly id: string;
    readonly scratch: boolean;
    readonly store: SnapshotStore;
    readonly files: SnapshotFiles;
  }) {
    this.id = id;
    this.scratch = scratch;
    this.#store = store;
    this.#files = files;
  }

  [Symbol.dispose](): void {
    this.#files.close?.();
  }

  async stat(key: string): Promise<SnapshotInfo> {
    const info = await this.#store.get(key);
    if (info !== undefined) return info;
    throw new Failure("not_found", `cannot find snapshot ${quote(key)} of ${this.id}`);
  }

  update(key: string, labels: LabelChanges): Promise<SnapshotInfo> {
    return this.#store.update(key, labels);
  }

  async mounts(key: string): Promise<readonly Mount[]> {
    const { id, kind, parent } = await this.stat(key);
    const action = `cannot mount snapshot ${quote(key)}`;
    if (kind === "committed") {
      throw new Failure("failed_precondition", `${action}: it is committed: make a view of it`);
    }
    if (kind === "active") {
      await this.#demand(id, action);
      await this.#files.reopen?.(id);
    }
    return this.#files.mounts({ kind, id }, await this.#readyChain(parent));
  }

  async prepare(key: string, parent?: string, options: SnapshotOptions = {}): Promise<readonly Mount[]> {
    const info = await this.#store.create(key, "active", { ...options, parent });
    const { id } = info;
    try {
      const parents = await this.#readyChain(parent);
      await this.#files.create(id, parents);
      this.#prepared.set(key, info);
      return this.#files.mounts({ kind: "active", id }, parents);
    } catch (error) {
      await this.remove(key);
      throw error;
    }
  }

  async view(key: string, parent: string, options: SnapshotOptions = {}): Promise<readonly Mount[]> {
    const { id } = await this.#store.create(key, "view", { ...options, parent });
    try {
      return this.#files.mounts({ kind: "view", id }, await this.#readyChain(parent));
    } catch (error) {
      await this.remove(key);
      throw error;
    }
  }

  async folder(key: string): Promise<SnapshotFolder> {
    const prepared = this.#prepared.get(key);
    const { id, kind, parent } = prepared ?? await this.stat(key);
    const action = `cannot write into snapshot ${quote(key)}`;
    if (kind !== "active") throw new Failure("failed_precondition", `${action}: it is ${kind}, want an active one`);
    if (prepared === undefined) await this.#demand(id, action);
    return this.#files.folder(id, await this.#readyChain(parent));
  }

  async commit(name: string, key: string, options: SnapshotOptions = {}): Promise<void> {
    const prepared = this.#prepared.get(key);
    const { id, kind } = prepared ?? await this.stat(key);
    // What is not active is refused by the store, in its words.
    if (kind === "active") {
      if (prepared === undefined) await this.#demand(id, `cannot commit snapshot ${quote(key)} as ${quote(name)}`);
      await this.#files.finish?.(id);
    }
    await this.#store.commit(name, key, options);
    this.#prepared.delete(key);
    await this.#files.seal?.(id);
  }

  async remove(key: string): Promise<void> {
    const { id } = await this.#store.remove(key);
    this.#chains.delete(key);
    this.#prepared.delete(key);
    await this.#files.remove(id);
  }

  async usage(key: string): Promise<SnapshotUsage> {
    const { id, kind, parent } = await this.stat(key);
    if (kind === "view" || !await this.#files.exists(id)) return { bytes: 0, inodes: 0 };
    const leaf = kind === "active" || (await this.walk({ parent: key })).length === 0;
    return await this.#files.usage(id, await this.#chain(parent), { leaf });
  }

  async walk(filter: SnapshotFilter = {}): Promise<readonly SnapshotInfo[]> {
    return (await this.#store.list()).filter((info) => matches(info, filter));
  }

  async cleanup(): Promise<readonly string[]> {
    let infos: readonly SnapshotInfo[] = [];
    const removed = await this.#files.cleanup(async () => {
      infos = await this.#store.list();
      return new Set(infos.map(({ id }) => id));
    });
    // A crash may have come between a commit's record and this.
    for (const { id, kind } of infos) if (kind === "committed") await this.#files.seal?.(id);
    if (this.#files.release !== undefined) this.#files.release(await this.#used(infos));
    return removed;
  }

  /** The layers of all that may be mounted. */
  async #used(infos: readonly SnapshotInfo[]): Promise<ReadonlySet<number>> {
    const used = new Set<number>();
    for (const { kind, parent } of infos) {
      if (kind === "committed") continue;
      // It may have been removed meanwhile, and its parent with it.
      try {
        for (const id of await this.#chain(parent)) used.add(id);
      } catch (error) {
        if (codeOf(error) !== "not_found") throw error;
      }
    }
    return used;
  }

  async #demand(id: number, action: string): Promise<void> {
    if (await this.#files.exists(id)) return;
    throw new Failure(
      "failed_precondition",
      `${action}: its files are not there, or half made: a crash came in between: remove it and prepare it again`,
    );
  }

  async #readyChain(key: string | undefined): Promise<readonly number[]> {
    const chain = await this.#chain(key);
    await this.#files.ready?.(chain);
    return chain;
  }

  /** The numbers of a committed snapshot and all below it, nearest first. */
  async #chain(key: string | undefined): Promise<readonly number[]> {
    if (key === undefined) return [];
    const cached = this.#chains.get(key);
    if (cached !== undefined) return cached;
    const chain = [await this.stat(key), ...await this.#store.parents(key)].map(({ id }) => id);
    this.#chains.set(key, chain);
    return chain;
  }
}

function matches(info: SnapshotInfo, { kind, parent, prefix, labels = {} }: SnapshotFilter): boolean {
  return (kind === undefined || info.kind === kind) &&
    (parent === undefined || info.parent === parent) &&
    (prefix === undefined || info.key.startsWith(prefix)) &&
    Object.entries(labels).every(([name, value]) => info.labels[name] === value);
}

function quote(key: string): string {
  return JSON.stringify(key);
}
