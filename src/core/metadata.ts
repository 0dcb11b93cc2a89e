import type { CallbackStore } from "./callback.ts";
import type { CallStore } from "./call.ts";
import type { ContainerStore } from "./container.ts";
import type { FunctionStore } from "./function.ts";
import type { IdRangeStore } from "./id_range.ts";
import type { ImageStore } from "./image.ts";
import type { InvocationStore } from "./invocation.ts";
import type { LeaseStore } from "./lease.ts";
import type { RepositoryStore } from "./repository.ts";
import type { ScheduleStore } from "./schedule.ts";
import type { SecretStore } from "./secret_store.ts";
import type { SnapshotStore } from "./snapshotter.ts";
import type { TokenStore } from "./token.ts";
import type { WriteBarrier } from "./write_barrier.ts";

/** The metadata of one root folder: a store for each noun. */
export interface Metadata {
  /** The id of the root folder this belongs to; garbage collection refuses to run where they differ. */
  readonly rootId: string;
  /** How often the root folder has been opened, this time included. */
  readonly opening: number;
  /** Why garbage collection may not run here, and how to go on; undefined where it may. */
  readonly conflict: string | undefined;
  /** Told of every reference that a store records. */
  readonly barrier: WriteBarrier;
  readonly namespaces: NamespaceStore;
  readonly images: ImageStore;
  readonly containers: ContainerStore;
  readonly functions: FunctionStore;
  readonly invocations: InvocationStore;
  readonly calls: CallStore;
  readonly callbacks: CallbackStore;
  readonly schedules: ScheduleStore;
  readonly secrets: SecretStore;
  readonly leases: LeaseStore;
  readonly idRanges: IdRangeStore;
  readonly repositories: RepositoryStore;
  readonly tokens: TokenStore;
  /** The rows of one snapshotter. */
  snapshots(snapshotter: string): SnapshotStore;
  /** Writes what is waiting and closes the database. */
  close(): Promise<void>;
}

/** A namespace is a tenant's partition of all metadata. `default` is always there. */
export interface NamespaceStore {
  list(): Promise<readonly Namespace[]>;
  /** Creates it where it is missing. */
  ensure(name: string, labels?: Readonly<Record<string, string>>): Promise<Namespace>;
  /** @throws failed_precondition while something is in it. @returns whether it was there. */
  delete(name: string): Promise<boolean>;
}

export interface Namespace {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly createdAt: Date;
}
