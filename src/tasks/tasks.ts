import type { ContainerStore } from "../core/container.ts";
import { Failure } from "../core/errors.ts";
import type { Events } from "../core/event.ts";
import type { Host } from "../core/host.ts";
import type { CreateTask, Runtime } from "../core/runtime.ts";
import type { Snapshotter } from "../core/snapshotter.ts";
import type { Spec } from "../core/spec.ts";
import { can, type Task, type TaskStats, type TaskStatus } from "../core/task.ts";
import { Kernel } from "../linux/kernel.ts";
import type { Accounts } from "./accounts.ts";
import { type ContainerRun, type RunOptions, startContainer } from "./container_run.ts";
import { lookInto, readAccounts } from "./look_into.ts";
import { checkCommand } from "./image_command.ts";
import { containerOomScoreAdj, withOomScoreAdj } from "./oom_score.ts";
import { recover, type Recovered } from "./recover.ts";
import { type TaskOwner, TrackedTask } from "./tracked_task.ts";

export interface TasksParts {
  readonly host: Host;
  readonly runtimes: ReadonlyMap<string, Runtime>;
  readonly snapshotters: ReadonlyMap<string, Snapshotter>;
  readonly containers: ContainerStore;
  readonly events: Events;
}

/** A task to be made, and whose it is. */
export interface NewTask extends CreateTask, TaskOwner {
  readonly runtime: Runtime;
}

/** What a listing shows of a task. */
export interface TaskInfo extends TaskOwner {
  readonly id: string;
  readonly runtime: string;
  readonly status: TaskStatus;
  readonly pid: number | undefined;
  readonly createdAt: Date;
  readonly startedAt: Date | undefined;
  /** Undefined for one that does not run. */
  readonly stats: TaskStats | undefined;
}

interface Entry {
  readonly task: TrackedTask;
  readonly runtime: Runtime;
}

/**
 * The tasks of this process, over all runtimes: creates them, tells what happens to them (`/tasks/create`, `/tasks/start`,
 * `/tasks/oom`, `/tasks/exit`, `/tasks/delete`), and lists them. Nothing is written to the database for a bare task.
 */
export class Tasks implements AsyncDisposable {
  readonly #parts: TasksParts;
  readonly #oomScoreAdj: number;
  #closed = false;
  readonly #entries = new Set<Entry>();
  /** Settles when nothing is left of a run. */
  readonly #runs = new Set<Promise<unknown>>();

  constructor(parts: TasksParts) {
    this.#parts = parts;
    this.#oomScoreAdj = containerOomScoreAdj(new Kernel(parts.host));
  }

  /**
   * As `Runtime.create`, with events, and in a container that the kernel kills before the daemon when memory runs out. The
   * caller owns the task: each `create` ends with `Task.delete`.
   * @throws unavailable when this has been disposed of.
   */
  async create({ runtime, namespace, function: functionName, image, ...options }: NewTask): Promise<Task> {
    const spec = withOomScoreAdj(options.spec, this.#oomScoreAdj);
    const created = await runtime.create({ ...options, spec });
    if (this.#closed) {
      await created.delete();
      throw new Failure(
        "unavailable",
        `cannot create task "${options.id}": no new ones are taken, this is shutting down`,
      );
    }
    const owner = { namespace, function: functionName, image };
    const shared = spec.linux.namespaces?.some(({ type, path }) => type === "network" && !path) !== true;
    const entry: Entry = {
      runtime,
      task: new TrackedTask(created, owner, this.#parts.events, shared, () => this.#entries.delete(entry)),
    };
    this.#entries.add(entry);
    return entry.task;
  }

  /**
   * Runs a container of an image: makes its snapshot, its metadata and its task, starts it, and removes all of it behind it.
   * @throws what making or starting it throws; nothing is left then.
   */
  run(options: RunOptions): Promise<ContainerRun> {
    const started = startContainer(options, this.#parts, {
      create: (task) => this.create(task),
      check: (spec) => this.checkCommand(options.snapshotter, options.chain, spec),
    });
    // Its caller is told how it ends; here it matters only that it has.
    const ended = started.then(({ done }) => done).catch(() => {}).finally(() => this.#runs.delete(ended));
    this.#runs.add(ended);
    return started;
  }

  /** The account files of an image, for `generateSpec`. @param chain its top layer, committed in the snapshotter. */
  accounts(snapshotter: Snapshotter, chain: string): Promise<Accounts> {
    return lookInto(this.#parts.host, snapshotter, chain, readAccounts);
  }

  /** @throws as `checkCommand`. @param chain the image's top layer, committed in the snapshotter. */
  checkCommand(snapshotter: Snapshotter, chain: string, spec: Spec): Promise<void> {
    return lookInto(this.#parts.host, snapshotter, chain, (root) => checkCommand(root, spec));
  }

  /** The tasks that are not deleted, the oldest first. @param namespace default all. */
  list(namespace?: string): Promise<readonly TaskInfo[]> {
    const entries = [...this.#entries].filter(({ task }) =>
      namespace === undefined || task.owner.namespace === namespace
    );
    return Promise.all(entries.map(describe));
  }

  /**
   * Removes what an earlier process left: tasks, containers that were only run, and their snapshots.
   * Call it once, before the first `create`.
   * @param snapshotPrefixes what keys of other snapshots begin with that no longer have an owner.
   */
  recover(snapshotPrefixes: readonly string[] = []): Promise<Recovered> {
    return recover(this.#parts, snapshotPrefixes);
  }

  /** Kills and deletes all tasks, and waits until nothing is left of what was run. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    const deletions = await Promise.allSettled(Array.from(this.#entries, ({ task }) => task.delete()));
    await Promise.all(this.#runs);
    const errors = deletions.flatMap((deletion) => deletion.status === "rejected" ? [deletion.reason] : []);
    if (errors.length > 0) {
      throw new AggregateError(errors, `cannot delete ${errors.length} of ${deletions.length} tasks`);
    }
  }
}

async function describe({ task, runtime }: Entry): Promise<TaskInfo> {
  const { id, status, pid, createdAt, startedAt, owner } = task;
  // It may end in between: then there is nothing to tell.
  const running = status === "running" && can(task.inner, "stats") ? task.inner : undefined;
  const stats = await running?.stats().catch(() => undefined);
  return { id, runtime: runtime.id, status, pid, createdAt, startedAt, stats, ...owner };
}
