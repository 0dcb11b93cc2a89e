import { Failure } from "../core/errors.ts";
import type { IdRange } from "../core/id_range.ts";
import type { Snapshotter } from "../core/snapshotter.ts";
import type { Task } from "../core/task.ts";
import { AT_FDCWD, O_CLOEXEC, O_DIRECTORY, O_PATH } from "../linux/flags.ts";
import type { Kernel } from "../linux/kernel.ts";
import { openDetached } from "../linux/mount/detached.ts";
import { syscallFailure } from "../linux/syscall_failure.ts";

/** The root filesystem of a container, open: paths in it are to be resolved by the kernel with `fd` as `/`. */
export interface ContainerRoot extends Disposable {
  /** An O_PATH descriptor; valid until this is disposed of. */
  readonly fd: number;
  /** Whether it is that of a process: with the container's volumes, `/proc` and `/tmp`, and what is in memory alone. */
  readonly live: boolean;
  /** Where its users are ids of the host's that are not those of its image: which these are. */
  readonly ids?: IdRange | undefined;
}

/**
 * Opens a container's root: as its process sees it where it has one, else its snapshot, mounted nowhere and writable.
 *
 * The caller sees to it that the container is not started while its snapshot is open here: one overlay cannot have two
 * mounts.
 * @param options.task its task, if it has one.
 * @param options.key its snapshot.
 * @throws not_found for the snapshot; failed_precondition for one that keeps no changes, where the container does not run.
 */
export async function openContainerRoot(
  kernel: Kernel,
  { task, snapshotter, key, ids }: {
    readonly task?: Pick<Task, "id" | "pid" | "status"> | undefined;
    readonly snapshotter: Snapshotter;
    readonly key: string;
    /** Whose users its processes are. */
    readonly ids?: IdRange | undefined;
  },
): Promise<ContainerRoot> {
  const live = task === undefined ? undefined : openLive(kernel, task);
  if (live !== undefined) return { ...opened(kernel, live, true), ids };
  const { kind } = await snapshotter.stat(key);
  if (kind !== "active") {
    throw new Failure(
      "failed_precondition",
      `cannot open the files of snapshot ${JSON.stringify(key)}: what its container wrote was in memory and is gone`,
    );
  }
  return opened(kernel, openDetached(kernel, await snapshotter.mounts(key), { writable: true }), false);
}

/** @returns undefined where it has no process any more. */
function openLive(kernel: Kernel, { id, pid, status }: Pick<Task, "id" | "pid" | "status">): number | undefined {
  if (pid === undefined || status === "stopped") return undefined;
  // A process of ours keeps its number until it is reaped, which cannot happen between these lines.
  const fd = kernel.attempt("openat", AT_FDCWD, `/proc/${pid}/root`, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
  if (fd >= 0) return fd;
  throw syscallFailure(`cannot open the files of container "${id}": it ends just now, try again`, "openat", fd);
}

function opened(kernel: Kernel, fd: number, live: boolean): ContainerRoot {
  return {
    fd,
    live,
    [Symbol.dispose]() {
      kernel.attempt("close", fd);
    },
  };
}
