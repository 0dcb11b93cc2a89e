import type { Mount } from "./mount.ts";

/**
 * A snapshotter keeps filesystem states. Terms, as in containerd:
 *
 * - A *committed* snapshot is immutable and may be a parent. Image layers are committed under their ChainID.
 * - An *active* snapshot is writable and belongs to who prepared it: `prepare`, write through its mounts, then `commit`
 *   under a new name, or `remove`.
 * - A *view* is a read-only look at a committed snapshot; it is removed, never committed.
 *
 * Keys are unique per snapshotter over all three kinds. A parent cannot be removed before its children. The caller
 * mounts what `mounts` returns and unmounts it before `commit` or `remove`. Every method may be called again after a
 * crash: what was not committed can be removed.
 */
export interface Snapshotter {
  /** The plugin's id: `overlay`, `native`, … */
  readonly id: string;
  /** Whether `Rootfs.scratch` may be laid over its views: no overlay filesystem, no scratch. */
  readonly scratch: boolean;
  /** What is recorded of a snapshot. @throws not_found. */
  stat(key: string): Promise<SnapshotInfo>;
  /** The mounts of an active snapshot or view. @throws not_found; failed_precondition for a committed one. */
  mounts(key: string): Promise<readonly Mount[]>;
  /**
   * Makes an active snapshot over a committed parent, or over nothing.
   * @throws already_exists; not_found for the parent; failed_precondition when the parent is not committed.
   */
  prepare(key: string, parent?: string): Promise<readonly Mount[]>;
  /** Makes a view. @throws as `prepare`. */
  view(key: string, parent: string): Promise<readonly Mount[]>;
  /**
   * The folder into which an active snapshot's own changes are written: the layer as overlayfs wants it (whiteouts are
   * 0:0 character devices, opaque folders carry `trusted.overlay.opaque`) or, where `whole` is true, the full tree.
   * Layers are unpacked here without a mount. `below` are the layer folders of the parents, nearest first, where the
   * folder is not whole: a hard link may name a file of theirs.
   * @throws not_found; failed_precondition when the snapshot is not active.
   */
  folder(key: string): Promise<{
    readonly path: string;
    readonly whole: boolean;
    readonly below: readonly string[];
  }>;
  /** Seals an active snapshot under a new key; the old key is gone. @throws not_found; already_exists; failed_precondition. */
  commit(name: string, key: string): Promise<void>;
  /** Removes a snapshot of any kind, with its folder. @throws not_found; failed_precondition while children exist. */
  remove(key: string): Promise<void>;
  /** Disk space of the snapshot itself, without its parents; nothing for a view. @throws not_found. */
  usage(key: string): Promise<{ readonly bytes: number; readonly inodes: number }>;
  /** Every snapshot. */
  walk(): Promise<readonly SnapshotInfo[]>;
  /** Removes folders that no snapshot owns (left by a crash) and returns their paths. */
  cleanup(): Promise<readonly string[]>;
}

export type SnapshotKind = "committed" | "active" | "view";

/** What is recorded of a snapshot. */
export interface SnapshotInfo {
  readonly key: string;
  readonly kind: SnapshotKind;
  readonly parent: string | undefined;
  /** The snapshotter's own number for it; its folder is named after it and never used again. */
  readonly id: number;
  readonly createdAt: Date;
}

/** Where a snapshotter records what it has: rows in the metadata database, each call one transaction. */
export interface SnapshotStore {
  get(key: string): Promise<SnapshotInfo | undefined>;
  /** The newest first, so that children come before their parents. */
  list(): Promise<readonly SnapshotInfo[]>;
  /** From the nearest to the lowest. @throws not_found for `key` itself. */
  parents(key: string): Promise<readonly SnapshotInfo[]>;
  /** Records a new one. @throws already_exists; not_found for the parent; failed_precondition when that is not committed. */
  create(key: string, kind: "active" | "view", parent?: string): Promise<SnapshotInfo>;
  /** Makes an active one committed, under a new name. @throws not_found; already_exists for `name`; failed_precondition when `key` is not active. */
  commit(name: string, key: string): Promise<SnapshotInfo>;
  /** Takes one out. @returns what it was. @throws not_found; failed_precondition while children exist. */
  remove(key: string): Promise<SnapshotInfo>;
}
