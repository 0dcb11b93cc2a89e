import type { LabelChanges, Labels } from "./labels.ts";
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
 * mounts what `mounts` returns and unmounts it before `commit` or `remove`.
 *
 * Every method may be called again after a crash, whichever method it was in. What it had recorded and not made is
 * listed and can be removed, and nothing else can be done with it; what it had made and not recorded goes by `cleanup`.
 */
export interface Snapshotter {
  /** The plugin's id: `overlay`, `native`, … */
  readonly id: string;
  /** Whether `Rootfs.scratch` may be laid over its views: no overlay filesystem, no scratch. */
  readonly scratch: boolean;
  /** What is recorded of a snapshot. @throws not_found. */
  stat(key: string): Promise<SnapshotInfo>;
  /**
   * Sets labels, or takes them away (null); the others stay. A snapshot of any kind may be labelled; `rootLabel` keeps one from
   * garbage collection.
   * @throws not_found; invalid_argument for a label that is too long.
   */
  update(key: string, labels: LabelChanges): Promise<SnapshotInfo>;
  /**
   * The mounts of an active snapshot or view.
   * @throws not_found; failed_precondition for a committed one, and for one that a crash left half made.
   */
  mounts(key: string): Promise<readonly Mount[]>;
  /**
   * Makes an active snapshot over a committed parent, or over nothing.
   * @throws already_exists; invalid_argument for an empty key; not_found for the parent; failed_precondition when the
   * parent is not committed.
   */
  prepare(key: string, parent?: string, options?: SnapshotOptions): Promise<readonly Mount[]>;
  /** Makes a view. @throws as `prepare`. */
  view(key: string, parent: string, options?: SnapshotOptions): Promise<readonly Mount[]>;
  /**
   * The folder into which an active snapshot's own changes are written.
   * @throws not_found; failed_precondition when the snapshot is not active, or half made.
   */
  folder(key: string): Promise<SnapshotFolder>;
  /**
   * Seals an active snapshot under a new key; the old key is gone. Its labels are those given here: those of the active
   * one spoke of work in progress.
   * @throws not_found; already_exists; failed_precondition when it is not active, or half made.
   */
  commit(name: string, key: string, options?: SnapshotOptions): Promise<void>;
  /** Removes a snapshot of any kind, with its folder. @throws not_found; failed_precondition while children exist. */
  remove(key: string): Promise<void>;
  /**
   * Disk space of the snapshot itself, without its parents; nothing for a view, or for one that is half made.
   * @throws not_found.
   */
  usage(key: string): Promise<SnapshotUsage>;
  /** Every snapshot that a filter lets through, children before their parents. Default: all. */
  walk(filter?: SnapshotFilter): Promise<readonly SnapshotInfo[]>;
  /** Removes folders that no snapshot owns (left by a crash) and returns their paths. */
  cleanup(): Promise<readonly string[]>;
}

export interface SnapshotOptions {
  readonly labels?: Labels;
}

/**
 * Where an active snapshot is written without a mount: layers are unpacked into it, and what a container changed is read
 * from it.
 */
export interface SnapshotFolder {
  readonly path: string;
  /**
   * Whether it holds the full tree. Else it is a layer as overlayfs wants it: whiteouts are 0:0 character devices, opaque
   * folders carry `trusted.overlay.opaque` (a user's daemon: `user.overlay.opaque`).
   */
  readonly whole: boolean;
  /**
   * A file that may be written instead: the layer as one EROFS image, whole when the snapshot is committed. Nothing is to be
   * in the folder then.
   */
  readonly image?: string;
  /** What it stands on, nearest first: the layer folders of all parents, or where it is `whole` the parent's full tree. */
  readonly below: readonly string[];
}

export interface SnapshotUsage {
  readonly bytes: number;
  readonly inodes: number;
}

/** What is not given lets everything through. */
export interface SnapshotFilter {
  readonly kind?: SnapshotKind | undefined;
  /** The key of the parent. */
  readonly parent?: string | undefined;
  /** What the key begins with. */
  readonly prefix?: string | undefined;
  /** Labels that it has, with these values. */
  readonly labels?: Labels | undefined;
}

export type SnapshotKind = "committed" | "active" | "view";

/** What is recorded of a snapshot. */
export interface SnapshotInfo {
  readonly key: string;
  readonly kind: SnapshotKind;
  readonly parent: string | undefined;
  /** The snapshotter's own number for it; its folder is named after it and never used again. */
  readonly id: number;
  readonly labels: Labels;
  readonly createdAt: Date;
  /** When it was made, committed or labelled last. */
  readonly updatedAt: Date;
}

/** Where a snapshotter records what it has: rows in the metadata database, each call one transaction. */
export interface SnapshotStore {
  get(key: string): Promise<SnapshotInfo | undefined>;
  /** The newest first, so that children come before their parents. */
  list(): Promise<readonly SnapshotInfo[]>;
  /** From the nearest to the lowest. @throws not_found for `key` itself. */
  parents(key: string): Promise<readonly SnapshotInfo[]>;
  /**
   * Records a new one.
   * @throws already_exists; invalid_argument for an empty key or labels that are too long; not_found for the parent;
   * failed_precondition when that is not committed.
   */
  create(
    key: string,
    kind: "active" | "view",
    options?: SnapshotOptions & { readonly parent?: string | undefined },
  ): Promise<SnapshotInfo>;
  /**
   * Makes an active one committed, under a new name and with new labels.
   * @throws not_found; already_exists for `name`; invalid_argument; failed_precondition when `key` is not active.
   */
  commit(name: string, key: string, options?: SnapshotOptions): Promise<SnapshotInfo>;
  /** Changes labels. @throws not_found; invalid_argument. */
  update(key: string, labels: LabelChanges): Promise<SnapshotInfo>;
  /** Takes one out. @returns what it was. @throws not_found; failed_precondition while children exist. */
  remove(key: string): Promise<SnapshotInfo>;
}
