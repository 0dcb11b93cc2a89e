import type { Exit, Task } from "./task.ts";
import type { Rootfs } from "./mount.ts";
import type { Spec } from "./spec.ts";

/**
 * A container runtime: makes tasks out of OCI specs.
 *
 * The caller owns what it creates: each `create` ends with `Task.delete`, on every path.
 */
export interface Runtime {
  /** The plugin's id: `native`, `crun`, … */
  readonly id: string;
  /**
   * Makes a task that `start` will run. Everything that can be refused is refused here, by name, before anything is made.
   * @throws invalid_argument for a spec that cannot be met; already_exists for an id in use; failed_precondition for
   * what the machine lacks.
   */
  create(options: CreateTask): Promise<Task>;
  /** The tasks of this process that are not deleted. */
  tasks(): readonly Task[];
  /** Removes what an earlier process left (processes, cgroups, runtime files) and returns the ids it cleaned. */
  recover(): Promise<readonly string[]>;
}

/** What a task is made of. */
export interface CreateTask {
  /** Unique per runtime: 1 to 128 of `[A-Za-z0-9_.-]`, beginning with a letter or digit. */
  readonly id: string;
  /** The OCI runtime configuration. `root.path` is ignored: `rootfs` says what the root is. */
  readonly spec: Spec;
  readonly rootfs: Rootfs;
  /** Which standard streams become pipes; the others are /dev/null. Default: all three. */
  readonly stdio?: { readonly stdin?: boolean; readonly stdout?: boolean; readonly stderr?: boolean };
}

export type { Exit, Task };
