import type { Ability, Exit, ProcessExit, Stdio, Task } from "./task.ts";
import type { Rootfs } from "./mount.ts";
import type { Spec } from "./spec.ts";

/**
 * A container runtime: makes tasks out of OCI specs.
 *
 * The caller owns what it creates: each `create` ends with `Task.delete` (or `delete` here), on every path.
 */
export interface Runtime {
  /** The plugin's id: `native`, `crun`, … */
  readonly id: string;
  /** What its tasks can do on this machine. */
  readonly abilities: ReadonlySet<Ability>;
  /** Whether the root filesystem of a container with `linux.uidMappings` has the ids of the image in it. Default false. */
  readonly mapsIds?: boolean;
  /** Whether `Task.start` takes an environment, so that a task can be made before it is known what for. Default false. */
  readonly givesEnvironmentAtStart?: boolean;
  /**
   * Makes a task that `start` will run. Everything that can be refused is refused here, by name, before anything is made.
   * @throws invalid_argument for a spec that cannot be met; already_exists for an id in use; failed_precondition for
   * what the machine lacks; unimplemented for what this runtime cannot do; and what `start` throws, where it is known here.
   */
  create(options: CreateTask): Promise<Task>;
  /** The tasks of this process that are not deleted. */
  tasks(): readonly Task[];
  /** One of them. @throws not_found. */
  load(id: string): Promise<Task>;
  /** As `Task.delete`, by id. @throws not_found. */
  delete(id: string): Promise<Exit | undefined>;
  /**
   * Tells what happens to tasks, from here on; for one task in order, and nothing twice. `create` is told before
   * `Runtime.create` returns, `delete` is the last.
   * @param listener must not throw. @returns the way to stop.
   */
  events(listener: (event: TaskEvent) => void): () => void;
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
  /** Default: three pipes. With `process.terminal` what is a pipe here is the terminal. */
  readonly stdio?: Stdio;
  /** The folder that hooks are told of as the bundle. Default: one of the runtime's own. */
  readonly bundle?: string;
  /** The caller starts it at once: its process may be made at `start`, which is faster than to make it wait. Default false. */
  readonly lazy?: boolean;
  /**
   * A descriptor of this process's for the network namespace that takes the place of the new one which the spec asks for. It
   * is open until the task is deleted.
   */
  readonly networkNamespace?: number;
  /** A folder that `checkpoint` filled: the task goes on from there when it starts. */
  readonly checkpoint?: string;
}

/** Something that happened to a task, named as containerd names it. `process` is absent where init is meant. */
export type TaskEvent =
  & { readonly id: string; readonly at: Date }
  & (
    | { readonly type: "create" | "start"; readonly pid: number | undefined }
    | { readonly type: "exit"; readonly pid: number | undefined; readonly exit: ProcessExit; readonly process?: string }
    | { readonly type: "exec-added"; readonly process: string }
    | { readonly type: "exec-started"; readonly process: string; readonly pid: number }
    | { readonly type: "oom" | "paused" | "resumed" | "checkpointed" }
    | { readonly type: "delete"; readonly exit: Exit | undefined }
  );

export type { Exit, Task };
