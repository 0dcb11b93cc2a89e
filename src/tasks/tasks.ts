import type { ContainerStore } from "../core/container.ts";
import { Failure } from "../core/errors.ts";
import type { Events } from "../core/event.ts";
import { ExecInputSchema } from "../core/exec.ts";
import type { Host } from "../core/host.ts";
import { type Attachment, connectionOf, type Network, networkPlugin } from "../core/network.ts";
import { parse } from "../core/parse.ts";
import type { CreateTask, Runtime, TaskEvent } from "../core/runtime.ts";
import type { Snapshotter } from "../core/snapshotter.ts";
import type { Spec } from "../core/spec.ts";
import { can, type ExecOptions, type Process, type Task, type TaskStats, type TaskStatus } from "../core/task.ts";
import type { PortPublisher, Publication, PublishedPort } from "../core/published_port.ts";
import { Kernel } from "../linux/kernel.ts";
import type { Accounts } from "./accounts.ts";
import { boundedTail } from "./bounded_tail.ts";
import { type ContainerRun, type RunOptions, startContainer } from "./container_run.ts";
import { execProcess, rootOf } from "./exec.ts";
import { lookInto, readAccounts } from "./look_into.ts";
import { checkCommand } from "./image_command.ts";
import { containerOomScoreAdj, withOomScoreAdj } from "./oom_score.ts";
import { type Means, meansOf } from "./means.ts";
import { recover, type Recovered } from "./recover.ts";
import { stopTask } from "./stop_task.ts";
import { taskEventData } from "./task_events.ts";

export interface TasksParts {
  readonly host: Host;
  readonly runtimes: ReadonlyMap<string, Runtime>;
  readonly snapshotters: ReadonlyMap<string, Snapshotter>;
  readonly containers: ContainerStore;
  readonly events: Events;
  /** Those that tasks may be connected to. Default none: what a spec says of it is left alone. */
  readonly networks?: ReadonlyMap<string, Network>;
  /** Leads ports of the machine to tasks. Default none: whoever asks for it is refused. */
  readonly ports?: PortPublisher;
  /** Told what fails behind a task's end. */
  readonly onError?: (error: unknown, what: string) => void;
}

/** Whose task it is. */
export interface TaskOwner {
  readonly namespace: string;
  /** The function that it serves, if it does. */
  readonly function?: string | undefined;
  /** The image's name. */
  readonly image?: string | undefined;
  /** Those of its container or function; its events carry them. */
  readonly labels?: Readonly<Record<string, string>> | undefined;
}

/** A task to be made, and whose it is. */
export interface NewTask extends CreateTask, TaskOwner {
  readonly runtime: Runtime;
  /** Ports of the machine that lead to its own, from before it is made until it is deleted. */
  readonly ports?: readonly PublishedPort[] | undefined;
}

/** By what a task is reached. */
export interface Reach {
  /** Those of its own network; none where it has the machine's, or none at all. */
  readonly addresses: readonly string[];
  /** Ports of the machine that lead to its own, with those that the kernel chose. */
  readonly ports: readonly PublishedPort[];
}

/** What a listing shows of a task. */
export interface TaskInfo extends TaskOwner, Reach {
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
  readonly owner: TaskOwner;
  readonly runtime: Runtime;
  spec: Spec;
  /** Undefined while the runtime makes it. */
  task: Task | undefined;
  createdAt: Date | undefined;
  startedAt: Date | undefined;
  /** Its end of a network, where it has to be connected to one. */
  attachment: Attachment | undefined;
  publication: Publication | undefined;
}

/**
 * The tasks of this process, over all runtimes: creates them, tells what happens to them (`/tasks/create`, `/tasks/start`,
 * `/tasks/exec-added`, … as containerd names them), and lists them. Nothing is written to the database for a bare task.
 *
 * A task is the runtime's own, with the abilities that it has there. What is known of it beside, stands here from its
 * `create` to its `delete`, which the runtime tells.
 */
export class Tasks implements AsyncDisposable {
  readonly #parts: TasksParts;
  readonly #kernel: Kernel;
  /** What there is to give to containers. */
  readonly means: Means;
  readonly #oomScoreAdj: number;
  readonly #stopListening: readonly (() => void)[];
  #closed = false;
  /** By `<runtime>/<id>`. */
  readonly #entries = new Map<string, Entry>();
  /** The tasks that share a network with others. */
  readonly #sharing = new WeakSet<Task>();
  /** The ends of networks that are given back, by `<runtime>/<id>`; none of them rejects. */
  readonly #releases = new Map<string, Promise<void>>();
  /** Settles when nothing is left of a run. */
  readonly #runs = new Set<Promise<unknown>>();

  constructor(parts: TasksParts) {
    this.#parts = parts;
    this.#kernel = new Kernel(parts.host);
    this.means = meansOf(this.#kernel);
    this.#oomScoreAdj = containerOomScoreAdj(this.#kernel);
    this.#stopListening = [...parts.runtimes.values()].map((runtime) =>
      runtime.events((event) => this.#tell(runtime, event))
    );
  }

  #tell(runtime: Runtime, event: TaskEvent): void {
    const key = keyOf(runtime, event.id);
    const entry = this.#entries.get(key);
    if (entry === undefined) return;
    if (event.type === "create") entry.createdAt = event.at;
    else if (event.type === "start") entry.startedAt = event.at;
    else if (event.type === "delete") {
      this.#entries.delete(key);
      this.#release(key, entry);
    }
    const { namespace, labels } = entry.owner;
    const data = taskEventData(event);
    this.#parts.events.publish(
      `/tasks/${event.type}`,
      namespace,
      labels === undefined || Object.keys(labels).length === 0 ? data : { ...data, labels },
      event.at,
    );
  }

  /**
   * As `Runtime.create`, with events, and in a container that the kernel kills before the daemon when memory runs out. The
   * caller owns the task: each `create` ends with `Task.delete`.
   * @throws unavailable when this has been disposed of.
   */
  async create(
    { runtime, namespace, function: functionName, image, labels, ports = [], ...options }: NewTask,
  ): Promise<Task> {
    const key = keyOf(runtime, options.id);
    if (this.#entries.has(key)) {
      throw new Failure("already_exists", `cannot create task "${options.id}": there is one of this id`);
    }
    const entry: Entry = {
      owner: { namespace, function: functionName, image, labels },
      runtime,
      spec: options.spec,
      task: undefined,
      createdAt: undefined,
      startedAt: undefined,
      attachment: undefined,
      publication: undefined,
    };
    this.#entries.set(key, entry);
    let task: Task;
    let spec: Spec;
    try {
      // One of the same id may just have ended.
      await this.#releases.get(key);
      if (ports.length > 0) {
        entry.publication = await this.#publisher(options.spec).publish(ports, {
          pid: () => pidOf(entry),
          address: () => entry.attachment?.addresses[0],
        });
      }
      if (connectionOf(options.spec) !== undefined) {
        entry.attachment = await this.#connect({ id: options.id, namespace, spec: options.spec });
      }
      spec = entry.spec = withOomScoreAdj(entry.attachment?.spec ?? options.spec, this.#oomScoreAdj);
      const { networkNamespace } = entry.attachment ?? {};
      task = await runtime.create({ ...options, spec, ...(networkNamespace !== undefined && { networkNamespace }) });
    } catch (error) {
      this.#entries.delete(key);
      await this.#release(key, entry);
      throw error;
    }
    entry.task = task;
    if (sharesNetwork(spec)) this.#sharing.add(task);
    if (this.#closed) {
      await task.delete();
      // Nobody may be listening any more.
      this.#entries.delete(key);
      throw new Failure(
        "unavailable",
        `cannot create task "${options.id}": no new ones are taken, this is shutting down`,
      );
    }
    return task;
  }

  /** Connects a task to the network that its spec names. */
  async #connect(
    { id, namespace, spec }: { readonly id: string; readonly namespace: string; readonly spec: Spec },
  ): Promise<Attachment | undefined> {
    const { networks } = this.#parts;
    const settings = networks && connectionOf(spec);
    if (settings === undefined) return undefined;
    const network = networks?.get(networkPlugin(settings.network));
    if (network?.connect === undefined) {
      throw new Failure(
        "failed_precondition",
        `cannot create task "${id}": its network ${JSON.stringify(settings.network)} is not running`,
      );
    }
    return await network.connect({ id, namespace, spec, settings });
  }

  /** Gives back by what a task was reached. The promise never rejects. */
  #release(key: string, { attachment, publication }: Entry): Promise<void> {
    const held = [publication, attachment].filter((each) => each !== undefined);
    if (held.length === 0) return Promise.resolve();
    const release = this.#disconnect(key, held).finally(() => {
      if (this.#releases.get(key) === release) this.#releases.delete(key);
    });
    this.#releases.set(key, release);
    return release;
  }

  async #disconnect(key: string, held: readonly AsyncDisposable[]): Promise<void> {
    for (const each of held) {
      try {
        await each[Symbol.asyncDispose]();
      } catch (error) {
        this.#parts.onError?.(error, `cannot disconnect task ${key} from its network`);
      }
    }
  }

  /** Tries whether a task of a spec could have ports. @throws as `PortPublisher.check`; invalid_argument. */
  async checkPorts(spec: Spec, ports: readonly PublishedPort[]): Promise<void> {
    if (ports.length > 0) await this.#publisher(spec).check(ports);
  }

  #publisher(spec: Spec): PortPublisher {
    const details = { field: "ports" };
    if (spec.linux.namespaces?.some(({ type }) => type === "network") !== true) {
      throw new Failure(
        "invalid_argument",
        "cannot publish ports of a container on the machine's network: it listens on the machine itself",
        { details },
      );
    }
    const { ports } = this.#parts;
    if (ports === undefined) throw new Failure("unimplemented", "ports cannot be published here", { details });
    return ports;
  }

  /** By what a task is reached, from `create` to `delete`. */
  reach(task: Task): Reach {
    const entry = [...this.#entries.values()].find((entry) => entry.task === task);
    return entry === undefined ? { addresses: [], ports: [] } : reachOf(entry);
  }

  /**
   * The output of a task, or of a process of it, to its end. One that shares a network with processes of other containers
   * may have given its streams away to them: what it has left is read when it has ended, but nobody else is waited for.
   */
  output(task: Task, process: Pick<Process, "stdout" | "stderr" | "wait"> = task): Pick<Process, "stdout" | "stderr"> {
    const { stdout, stderr } = process;
    if (!this.#sharing.has(task)) return { stdout, stderr };
    return {
      stdout: stdout && boundedTail(stdout, process.wait()),
      stderr: stderr && boundedTail(stderr, process.wait()),
    };
  }

  /**
   * Runs a container of an image: makes its snapshot, its metadata and its task, starts it, and removes all of it behind it.
   * @throws what making or starting it throws; nothing is left then.
   */
  run(options: RunOptions): Promise<ContainerRun> {
    const started = startContainer(options, this.#parts, {
      create: (task) => this.create(task),
      means: this.means,
      check: (spec) => this.checkCommand(options.snapshotter, options.chain, spec),
    });
    // Its caller is told how it ends; here it matters only that it has.
    const ended = started.then(({ done }) => done).catch(() => {}).finally(() => this.#runs.delete(ended));
    this.#runs.add(ended);
    return started;
  }

  /** The account files of an image, for `generateSpec`. @param chain its top layer, committed in the snapshotter. */
  accounts(snapshotter: Snapshotter, chain: string): Promise<Accounts> {
    return lookInto(this.#kernel, snapshotter, chain, readAccounts);
  }

  /** @throws as `checkCommand`. @param chain the image's top layer, committed in the snapshotter. */
  checkCommand(snapshotter: Snapshotter, chain: string, spec: Spec): Promise<void> {
    return lookInto(this.#kernel, snapshotter, chain, (root) => checkCommand(root, spec));
  }

  /**
   * Runs one more process in a task's container. The caller owns it: it ends with `Process.delete`, or with the task.
   * @param input what `ExecInputSchema` says. @throws not_found for the task; invalid_argument; as `Executes.exec`.
   */
  async exec(
    namespace: string,
    id: string,
    input: unknown,
    stdio: NonNullable<ExecOptions["stdio"]>,
  ): Promise<Process> {
    const { task, spec } = this.#find(namespace, id);
    const settings = parse(ExecInputSchema, input, `cannot run a process in ${JSON.stringify(id)}`);
    return await execProcess({ kernel: this.#kernel, task, spec, means: this.means }, settings, stdio);
  }

  /**
   * The names of what is in a folder of a container that runs, as it sees it, without folders; none where there is no such
   * folder. @throws not_found for the task; failed_precondition before its start.
   */
  filesIn(namespace: string, id: string, folder: string): readonly string[] {
    const { task } = this.#find(namespace, id);
    using root = rootOf(this.#kernel, task);
    return root.list(folder).filter((name) => {
      const found = root.look(`${folder}/${name}`);
      return found === "file" || typeof found === "object";
    });
  }

  /** Asks a task's init to end, waits for that, and kills it where it has not. @param graceMs how long it has. */
  stop(task: Task, graceMs: number): Promise<void> {
    return stopTask(this.#kernel, task, graceMs);
  }

  /** A task that is not deleted, and the spec that it was made of. @throws not_found. */
  load(namespace: string, id: string): { readonly task: Task; readonly spec: Spec } {
    const { task, spec } = this.#find(namespace, id);
    return { task, spec };
  }

  /** What a listing shows of one task. @throws not_found. */
  get(namespace: string, id: string): Promise<TaskInfo> {
    return describe(this.#find(namespace, id));
  }

  #find(namespace: string, id: string): Entry & { readonly task: Task } {
    const entry = [...this.#entries.values()].filter(isMade).find(({ task, owner }) =>
      task.id === id && owner.namespace === namespace
    );
    if (entry !== undefined) return entry;
    throw new Failure(
      "not_found",
      `no task ${JSON.stringify(id.slice(0, 140))} is in namespace ${JSON.stringify(namespace)}: ` +
        "its container does not run, or its id is mistyped",
    );
  }

  /** The tasks that are not deleted, the oldest first. @param namespace default all. */
  list(namespace?: string): Promise<readonly TaskInfo[]> {
    const entries = [...this.#entries.values()].filter(isMade).filter(({ owner }) =>
      namespace === undefined || owner.namespace === namespace
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
    const deletions = await Promise.allSettled(Array.from(this.#entries.values(), ({ task }) => task?.delete()));
    await Promise.all(this.#runs);
    await Promise.all(this.#releases.values());
    for (const stop of this.#stopListening) stop();
    const errors = deletions.flatMap((deletion) => deletion.status === "rejected" ? [deletion.reason] : []);
    if (errors.length > 0) {
      throw new AggregateError(errors, `cannot delete ${errors.length} of ${deletions.length} tasks`);
    }
  }
}

function keyOf(runtime: Runtime, id: string): string {
  return `${runtime.id}/${id}`;
}

function isMade(entry: Entry): entry is Entry & { readonly task: Task } {
  return entry.task !== undefined;
}

function sharesNetwork(spec: Spec): boolean {
  return spec.linux.namespaces?.some(({ type, path }) => type === "network" && !path) !== true;
}

function reachOf({ attachment, publication }: Entry): Reach {
  return { addresses: attachment?.addresses ?? [], ports: publication?.ports ?? [] };
}

/** Its init, as long as it has not been seen to end. */
function pidOf({ task }: Entry): number | undefined {
  return task?.status === "running" || task?.status === "paused" ? task.pid : undefined;
}

async function describe(entry: Entry & { task: Task }): Promise<TaskInfo> {
  const { task, runtime, owner, createdAt, startedAt } = entry;
  const { id, status, pid } = task;
  // It may end in between: then there is nothing to tell.
  const alive = (status === "running" || status === "paused") && can(task, "stats") ? task : undefined;
  const stats = await alive?.stats().catch(() => undefined);
  return {
    id,
    runtime: runtime.id,
    status,
    pid,
    createdAt: createdAt ?? new Date(),
    startedAt,
    ...reachOf(entry),
    stats,
    ...owner,
  };
}
