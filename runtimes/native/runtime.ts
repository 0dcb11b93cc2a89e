import { checkContainerId, isContainerId } from "../../src/core/container_id.ts";
import { Failure } from "../../src/core/errors.ts";
import { type Logger, silent } from "../../src/core/logger.ts";
import type { CreateTask, Exit, Runtime, Task, TaskEvent } from "../../src/core/runtime.ts";
import type { Spec } from "../../src/core/spec.ts";
import type { Ability } from "../../src/core/task.ts";
import { type NewTaskEvent, TaskEvents } from "../../src/core/task_events.ts";
import { CgroupPool, type Cgroups, type CgroupStats, OomWatch } from "../../src/linux/cgroup/mod.ts";
import { containerCgroupPath } from "../../src/linux/cgroup/container_path.ts";
import type { Children } from "../../src/linux/children.ts";
import { setUndumpable } from "../../src/linux/dumpable.ts";
import { errno } from "../../src/linux/errno.ts";
import * as f from "../../src/linux/flags.ts";
import { ForkServer } from "../../src/linux/fork_server.ts";
import type { Kernel } from "../../src/linux/kernel.ts";
import { NetworkNamespaces } from "../../src/linux/network_namespaces.ts";
import { removeTree } from "../../src/linux/remove_tree.ts";
import { syscallFailure } from "../../src/linux/syscall_failure.ts";
import { Blueprints } from "./blueprints.ts";
import { leavesCgroupAlone } from "./cgroup_reuse.ts";
import { dump, mountPlaces, outsideMounts, refuseCheckpoint } from "./checkpoint.ts";
import { Criu } from "../../src/linux/criu.ts";
import { directLaunch } from "./direct_launch.ts";
import { ExecPlans } from "./exec_plans.ts";
import { Hooks } from "./hooks.ts";
import { cgroupViews, folderOf, launchValues, processValues } from "./launch_values.ts";
import { cloneFlagsOf, type Namespaces, networkDescriptor } from "./namespaces.ts";
import type { Settings } from "./settings.ts";
import { mappingDescriptors } from "./mount_mapping.ts";
import { mappingDescriptor } from "./staged_plan.ts";
import { writeMaps } from "./user_namespace.ts";
import { UserNamespaces } from "../../src/linux/user_namespaces.ts";
import { restoredLaunch } from "./restored_launch.ts";
import { StagedLaunch } from "./staged_launch.ts";
import { type Descriptors, Stages } from "../../src/linux/stages.ts";
import { noStreams, stdioKinds } from "./stdio.ts";
import { Streams } from "../../src/linux/streams.ts";
import { Processes } from "./processes.ts";
import { Rights } from "./rights.ts";
import { NativeTask } from "./task.ts";

export interface NativeRuntimeParts {
  readonly kernel: Kernel;
  readonly children: Children;
  readonly cgroups: Cgroups;
  /** A folder of this runtime's own, for the root filesystem's mount point. */
  readonly folder: string;
  /** The cgroup below which containers get theirs, for example `/mayfly`. */
  readonly cgroupParent: string;
  /** For checkpoints. Default: the one of the machine. */
  readonly criu?: Criu;
  /** Default: what is said is dropped. */
  readonly log?: Logger;
}

/** Runs containers with system calls alone. Disposing of it deletes its tasks. */
export class NativeRuntime implements Runtime, AsyncDisposable {
  readonly id = "native";
  readonly givesEnvironmentAtStart = true;
  readonly abilities: ReadonlySet<Ability>;
  readonly mapsIds: boolean;
  readonly #parts: NativeRuntimeParts;
  readonly #blueprints: Blueprints;
  readonly #pool: CgroupPool;
  readonly #stages: Stages;
  readonly #users: UserNamespaces;
  readonly #networks: NetworkNamespaces;
  readonly #ooms: OomWatch;
  readonly #forks: ForkServer;
  readonly #criu: Criu;
  readonly #tasks = new Map<string, NativeTask>();
  readonly #creating = new Map<string, Promise<Task>>();
  readonly #events = new TaskEvents();

  constructor(parts: NativeRuntimeParts) {
    const { kernel, folder, cgroups, cgroupParent } = parts;
    this.#parts = parts;
    this.abilities = new Set<Ability>([
      "checkpoint",
      "exec",
      "resize",
      "stats",
      "update",
      ...(cgroups.freezes ? ["pause"] as const : []),
    ]);
    this.#stages = new Stages(kernel, parts.children);
    this.#networks = new NetworkNamespaces(this.#stages);
    this.#ooms = new OomWatch(this.#stages);
    this.#forks = new ForkServer(this.#stages);
    this.#pool = new CgroupPool({ kernel, cgroups, parent: cgroupParent });
    const rights = new Rights(kernel);
    // The ids of other users are not an ordinary user's to map.
    this.mapsIds = rights.ids.all;
    this.#blueprints = new Blueprints({ kernel, folder, rights, manner: { mapsRoot: true } });
    this.#users = new UserNamespaces(this.#stages);
    // Until it executes, a child shares this process's memory: nobody else may look into either.
    setUndumpable(kernel);
    this.#criu = parts.criu ?? new Criu(kernel, parts.children);
    makeFolder(kernel, folder);
  }

  tasks(): readonly Task[] {
    return [...this.#tasks.values()];
  }

  async load(id: string): Promise<Task> {
    const task = this.#tasks.get(id);
    if (task === undefined) throw new Failure("not_found", `no container ${JSON.stringify(id)} is here`);
    return task;
  }

  async delete(id: string): Promise<Exit | undefined> {
    return await (await this.load(id)).delete();
  }

  events(listener: (event: TaskEvent) => void): () => void {
    const stop = this.#events.subscribe(listener);
    // Those that nobody listened to cost nothing so far.
    for (const task of this.#tasks.values()) task.watchOom();
    return stop;
  }

  async create(options: CreateTask): Promise<Task> {
    const { id } = options;
    checkContainerId(id);
    if (this.#tasks.has(id) || this.#creating.has(id)) {
      throw new Failure("already_exists", `cannot create container ${JSON.stringify(id)}: there is one of this id`);
    }
    const created = this.#create(options);
    this.#creating.set(id, created);
    try {
      return await created;
    } finally {
      this.#creating.delete(id);
    }
  }

  async #create({ id, spec, rootfs, stdio, bundle, lazy, checkpoint, networkNamespace }: CreateTask): Promise<Task> {
    const { kernel, children, cgroups, cgroupParent } = this.#parts;
    const terminal = spec.process.terminal === true;
    const kinds = stdioKinds(kernel, terminal ? noStreams : stdio);
    const resources = spec.linux.resources ?? unlimited;
    const hierarchies = cgroups.hierarchies(resources);
    const blueprint = this.#blueprints.get(spec, rootfs, kinds, hierarchies);
    const { namespaces } = blueprint.settings;
    const flags = cloneFlagsOf(namespaces);
    const way = checkpoint !== undefined
      ? "restored"
      : blueprint.needsStages
      ? "staged"
      : lazy === true
      ? "direct"
      : "parked";
    // What is wrong with the plan is told before anything is made.
    if (way !== "restored") void blueprint[way];
    else this.#checkCheckpoint(spec, blueprint.settings);
    const path = containerCgroupPath(cgroupParent, id, spec);
    const reusable = leavesCgroupAlone(spec, blueprint.settings);
    await using undo = new AsyncDisposableStack();
    const cgroup = reusable ? this.#pool.take(path, resources) : cgroups.create(path, resources);
    undo.defer(() => cgroup.remove());
    const streams = new Streams(kernel, stdio ?? {}, terminal);
    undo.defer(() => streams.close());
    const blueprints = this.#blueprints;
    let launch = directLaunch({
      id,
      spec,
      templates: () => blueprints.get(spec, rootfs, kinds, hierarchies).direct,
      spawn: (templates, env) => {
        const own = launchValues(spec, streams.ends, cgroup);
        const values = env === undefined ? own : { ...own, envp: [...env, 0] };
        return this.#withNetwork(
          namespaces,
          networkNamespace,
          (network) => templates.spawn(network === undefined ? values : { ...values, network }, { flags }),
        );
      },
    });
    const hooks = new Hooks({ stages: this.#stages, id, spec, namespaces, bundle: bundle ?? this.#parts.folder });
    let take: (() => void) | undefined;
    using held = new DisposableStack();
    const mounts = outsideMounts(blueprint.settings, cgroupViews(hierarchies), (name) => folderOf(cgroup, name));
    if (checkpoint !== undefined) {
      launch = restoredLaunch({
        id,
        kernel,
        checkpoint,
        criu: this.#criu,
        work: this.#restores,
        rootfs,
        folder: this.#parts.folder,
        namespaces,
        cgroups: cgroupViews([...cgroup.folders.keys()]),
        values: processValues(spec.process, cgroup),
        places: mountPlaces(blueprint.settings, blueprint.kinds),
        outsideMounts: mounts,
        ends: streams.ends,
        kill: () => cgroup.kill(),
        children,
      });
    }
    if (way === "staged" || way === "parked") {
      const options = { id, spec, values: launchValues(spec, streams.ends, cgroup), hooks };
      const prepared = way === "staged"
        ? await StagedLaunch.prepare(this.#stages, {
          ...options,
          plan: blueprint.staged,
          descriptors: await this.#descriptors(streams, blueprint.settings, { held, networkNamespace }),
        })
        : await this.#withNetwork(
          namespaces,
          networkNamespace,
          (network) => StagedLaunch.park(this.#stages, { ...options, plan: blueprint.parked, flags, network }),
        );
      launch = prepared;
      take = () => prepared.take();
      undo.defer(() => prepared.abandon());
      if (prepared.terminal !== undefined) streams.attach(this.#stages, prepared.terminal);
      streams.release();
    }
    const publish = (event: NewTaskEvent) => this.#events.publish(event);
    const processes = new Processes({
      id,
      stages: this.#stages,
      forks: this.#forks,
      plans: new ExecPlans({ kernel, blueprints, spec, hierarchies: [...cgroup.folders.keys()] }),
      cgroup,
      publish,
    });
    const task = new NativeTask({
      id,
      kernel,
      children,
      cgroups,
      cgroup,
      streams,
      processes,
      ooms: this.#ooms,
      initIsLast: namespaces.made.has("pid"),
      devices: spec.linux.resources?.devices,
      ownNetwork: namespaces.made.has("network") || namespaces.joined.has("network"),
      launch,
      hooks,
      dump: async (pid, { folder, tcpEstablished }) => {
        this.#checkCheckpoint(spec, blueprint.settings);
        await dump(this.#criu, pid, { folder, mounts, tcpEstablished });
      },
      log: this.#parts.log ?? silent,
      keepCgroup: (stats: CgroupStats) => reusable && this.#pool.give(cgroup, resources, stats),
      publish,
      onDelete: () => this.#tasks.delete(id),
    });
    if (this.#events.heard) task.watchOom();
    undo.move();
    take?.();
    this.#tasks.set(id, task);
    publish({ type: "create", id, pid: task.pid });
    return task;
  }

  #checkCheckpoint(spec: Spec, settings: Settings): void {
    refuseCheckpoint(spec, settings, this.#blueprints.rights);
  }

  /** Where restores write what they need meanwhile. */
  get #restores(): string {
    return `${this.#parts.folder}.restores`;
  }

  /** Lends the network namespace that was given, or one made ahead: -1 where none is ready, undefined where none is wanted. */
  async #withNetwork<T>(
    { made }: Namespaces,
    given: number | undefined,
    use: (network: number | undefined) => Promise<T>,
  ): Promise<T> {
    if (!made.has("network")) return await use(undefined);
    if (given !== undefined) return await use(given);
    const network = this.#networks.take() ?? -1;
    try {
      return await use(network);
    } finally {
      if (network >= 0) this.#parts.kernel.attempt("close", network);
    }
  }

  /** What a process in stages is given. */
  async #descriptors(
    { descriptors: own }: Streams,
    { maps, mounts }: Settings,
    { held, networkNamespace }: { readonly held: DisposableStack; readonly networkNamespace: number | undefined },
  ): Promise<Descriptors> {
    const network = networkNamespace === undefined ? [] : [[networkDescriptor, networkNamespace] as const];
    const descriptors = new Map([...own, ...network, ...await mappingDescriptors(this.#users, mounts, held)]);
    if (maps === undefined) return descriptors;
    const mapping = held.use(
      await this.#users.hold(JSON.stringify(maps), (kernel, pid) => writeMaps(kernel, pid, maps)),
    );
    return new Map([...descriptors, [mappingDescriptor, mapping.fd]]);
  }

  async recover(): Promise<readonly string[]> {
    const { cgroups, cgroupParent } = this.#parts;
    const ids = new Set<string>();
    await this.#pool.clear();
    await removeTree(this.#parts.kernel, this.#restores);
    for (const path of cgroups.below(cgroupParent)) {
      const id = path.slice(cgroupParent.length + 1).split("/")[0] ?? "";
      if (this.#tasks.has(id)) continue;
      const cgroup = cgroups.open(path);
      await cgroup.kill();
      await cgroup.remove();
      if (isContainerId(id)) ids.add(id);
    }
    return [...ids];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { children, cgroups, cgroupParent } = this.#parts;
    await Promise.allSettled(this.#creating.values());
    await Promise.all(this.tasks().map((task) => task.delete()));
    await this.#pool[Symbol.asyncDispose]();
    await this.#networks[Symbol.asyncDispose]();
    await this.#ooms[Symbol.asyncDispose]();
    await this.#forks[Symbol.asyncDispose]();
    this.#users[Symbol.dispose]();
    children.close();
    this.#blueprints[Symbol.dispose]();
    this.#stages[Symbol.dispose]();
    // Another process may be using the same one.
    cgroups.open(cgroupParent).tryRemove({ below: false });
    cgroups[Symbol.dispose]();
  }
}

const unlimited = {};

function makeFolder(kernel: Kernel, folder: string): void {
  let path = "";
  for (const part of folder.split("/").filter((each) => each !== "")) {
    path += `/${part}`;
    const result = kernel.attempt("mkdirat", f.AT_FDCWD, path, 0o700);
    if (result < 0 && result !== -errno.EEXIST) {
      throw syscallFailure(`cannot make folder ${JSON.stringify(path)}`, "mkdirat", result);
    }
  }
}
