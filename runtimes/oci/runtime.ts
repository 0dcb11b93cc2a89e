import { mkdirSync, readdirSync, rmSync } from "node:fs";
import { checkContainerId } from "../../src/core/container_id.ts";
import { codeOf, Failure } from "../../src/core/errors.ts";
import type { CreateTask, Exit, Runtime, Task, TaskEvent } from "../../src/core/runtime.ts";
import type { Spec } from "../../src/core/spec.ts";
import type { Ability } from "../../src/core/task.ts";
import { type NewTaskEvent, TaskEvents } from "../../src/core/task_events.ts";
import { containerCgroupPath } from "../../src/linux/cgroup/container_path.ts";
import { freezerOf, frozen, thaw } from "../../src/linux/cgroup/freezer.ts";
import type { Hierarchy } from "../../src/linux/cgroup/layout.ts";
import type { Cgroup, Cgroups } from "../../src/linux/cgroup/mod.ts";
import { readText } from "../../src/linux/cgroup/read.ts";
import type { Children } from "../../src/linux/children.ts";
import { Criu } from "../../src/linux/criu.ts";
import { AT_FDCWD, AT_REMOVEDIR } from "../../src/linux/flags.ts";
import type { Kernel } from "../../src/linux/kernel.ts";
import { mountRootfs } from "../../src/linux/mount/rootfs.ts";
import { makeNetworkNamespace } from "../../src/linux/network_namespace.ts";
import { Stages } from "../../src/linux/stages.ts";
import { Streams } from "../../src/linux/streams.ts";
import type { Operation } from "../../src/linux/program.ts";
import { Bundle } from "./bundle.ts";
import { CheckpointCommands } from "./checkpoint.ts";
import { CommandLine } from "./command_line.ts";
import { ConsoleSocket } from "./console_socket.ts";
import { ProgramFeatures } from "./features.ts";
import { type Keeper, Keepers } from "./keeper.ts";
import { hold } from "./process.ts";
import { type Launched, OciTask } from "./task.ts";

export interface OciRuntimeParts {
  /** The plugin's id. */
  readonly id: string;
  /** The program's absolute path. */
  readonly program: string;
  /** What its command line has no command for. */
  readonly lacks: readonly Ability[];
  readonly kernel: Kernel;
  readonly children: Children;
  readonly cgroups: Cgroups;
  /** A folder of this runtime's own: bundles, and the state of its containers. */
  readonly folder: string;
  /** The cgroup below which containers get theirs, for example `/mayfly-crun`. */
  readonly cgroupParent: string;
  /** For checkpoints; its program is called `criu`. Default: the one of the machine. */
  readonly criu?: Criu;
}

/** A command of the runtime's that makes a container. */
interface LaunchOptions {
  readonly id: string;
  /** As a failure's message begins. */
  readonly action: string;
  readonly words: readonly string[];
  readonly env?: readonly string[];
  readonly bundle: Bundle;
  readonly streams: Streams;
  readonly terminal: boolean;
  /** Mounts the root filesystem. */
  readonly prepare: readonly Operation[];
  readonly cgroup: () => Cgroup;
}

/**
 * Runs containers by the command line of an OCI runtime. Disposing of it deletes its tasks.
 *
 * The root filesystem is mounted in a mount namespace of the container's keeper: nothing of it is on the host, and nothing is
 * left of it when the processes are gone.
 */
export class OciRuntime implements Runtime, AsyncDisposable {
  readonly id: string;
  readonly abilities: ReadonlySet<Ability>;
  readonly #parts: OciRuntimeParts;
  readonly #keepers: Keepers;
  readonly #stages: Stages;
  readonly #commands: CommandLine;
  readonly #checkpoints: CheckpointCommands | undefined;
  #asked: Promise<ProgramFeatures> | undefined;
  /** Undefined for one that is being made. */
  readonly #tasks = new Map<string, OciTask | undefined>();
  readonly #events = new TaskEvents();
  readonly #bundles: string;
  readonly #mountPoint: string;
  /** The folders of tasks of this process. */
  readonly #folders = new Set<string>();

  constructor(parts: OciRuntimeParts) {
    const { id, kernel, children, program, folder, cgroups } = parts;
    this.id = id;
    const able: readonly Ability[] = ["pause", "exec", "update", "stats", "resize", "checkpoint"];
    this.abilities = new Set(able.filter((ability) => !parts.lacks.includes(ability)));
    this.#parts = parts;
    const { criu = new Criu(kernel, children) } = parts;
    this.#checkpoints = this.abilities.has("checkpoint") ? new CheckpointCommands(id, criu) : undefined;
    this.#keepers = new Keepers(kernel, children);
    this.#stages = new Stages(kernel, children);
    this.#bundles = `${folder}/tasks`;
    this.#mountPoint = `${folder}/rootfs`;
    const state = `${folder}/state`;
    for (const each of [this.#bundles, this.#mountPoint, state]) mkdirSync(each, { recursive: true, mode: 0o700 });
    const { hierarchies } = cgroups.layout;
    const both = new Set(hierarchies.map(({ version }) => version)).size > 1;
    const hidden = hierarchies.filter(({ version }) => both && version === 2).map(({ path }) => path);
    this.#commands = new CommandLine({ kernel, children, keepers: this.#keepers, program, root: state, hidden });
  }

  tasks(): readonly Task[] {
    return [...this.#tasks.values()].filter((task) => task !== undefined);
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
    return this.#events.subscribe(listener);
  }

  async create(options: CreateTask): Promise<Task> {
    const { id } = options;
    checkContainerId(id);
    if (options.checkpoint !== undefined && this.#checkpoints === undefined) {
      throw new Failure(
        "unimplemented",
        `cannot restore container ${
          JSON.stringify(id)
        }: runtime ${this.id} cannot go on from a checkpoint here, use native`,
      );
    }
    if (this.#tasks.has(id)) {
      throw new Failure("already_exists", `cannot create container ${JSON.stringify(id)}: there is one of this id`);
    }
    this.#tasks.set(id, undefined);
    try {
      const task = await this.#create(options);
      this.#tasks.set(id, task);
      return task;
    } catch (error) {
      this.#tasks.delete(id);
      throw error;
    }
  }

  async #create({ id, spec, rootfs, stdio, networkNamespace, checkpoint }: CreateTask): Promise<OciTask> {
    const { kernel, cgroups, cgroupParent } = this.#parts;
    const features = await this.#features();
    features.check(spec);
    const cgroupsPath = containerCgroupPath(cgroupParent, id, spec);
    const prepare: Operation[] = [];
    const mounting = mountRootfs(rootfs, this.#mountPoint);
    let step = mounting.next();
    for (; step.done !== true; step = mounting.next()) prepare.push(step.value);
    const checkpoints = this.#checkpoints;
    if (checkpoint !== undefined) checkpoints?.checkRestore(id, spec, checkpoint);
    await using undo = new AsyncDisposableStack();
    let network = networkNamespace;
    if (network === undefined && checkpoints?.needsNetwork(spec) === true) {
      const made = network = makeNetworkNamespace(kernel);
      undo.defer(() => void kernel.attempt("close", made));
    }
    const namespaces = spec.linux.namespaces?.map((each) =>
      each.type !== "network" || network === undefined
        ? each
        : { ...each, path: `/proc/${kernel.host.pid}/fd/${network}` }
    );
    const complete: Spec = { ...spec, linux: { ...spec.linux, namespaces, cgroupsPath } };
    const cgroup = () => cgroups.open(cgroupsPath);
    const withFreezer = <T>(act: (cgroup: Cgroup, freezer: Hierarchy) => T): T | undefined => {
      const own = cgroup();
      const freezer = freezerOf(cgroups.layout, own);
      return freezer === undefined ? undefined : act(own, freezer);
    };
    // Short: sockets lie in it, whose paths are limited.
    const name = crypto.randomUUID().slice(0, 8);
    this.#folders.add(name);
    undo.defer(() => void this.#folders.delete(name));
    const bundle = new Bundle(`${this.#bundles}/${name}`, complete, step.value);
    undo.defer(() => bundle.remove());
    const terminal = spec.process.terminal === true;
    const streams = new Streams(kernel, stdio ?? {}, terminal);
    undo.defer(() => streams.close());
    const launch = { id, bundle, streams, terminal, prepare, cgroup };
    const restore = checkpoint === undefined || checkpoints === undefined ? undefined : () =>
      checkpoints.restore(
        id,
        bundle,
        checkpoint,
        (action, { words, env }) => this.#launch({ ...launch, action, words, env }),
      );
    const action = `cannot create container ${JSON.stringify(id)}`;
    const launched = restore === undefined ? await this.#launch({ ...launch, action, words: ["create"] }) : undefined;
    const publish = (event: NewTaskEvent) => this.#events.publish(event);
    publish({ type: "create", id, pid: launched?.init.pid });
    const held = undo.move();
    return new OciTask({
      id,
      kernel,
      stages: this.#stages,
      commands: this.#commands,
      features,
      bundle,
      launched,
      restore,
      streams,
      cgroup,
      frozen: async () => void await withFreezer(frozen),
      thaw: () => withFreezer(thaw),
      checkpoint: checkpoints && {
        check: () => checkpoints.checkDump(id, spec),
        dump: (options, run) => checkpoints.dump(id, spec, bundle, options, run),
      },
      publish,
      // Streams, bundle and network, in this order.
      onDelete: async () => {
        await held.disposeAsync();
        this.#tasks.delete(id);
      },
    });
  }

  /** Has the program make a container. Where that fails, nothing of it is left but the bundle. */
  async #launch(options: LaunchOptions): Promise<Launched> {
    const { id, action, env, bundle, streams, terminal, prepare, cgroup } = options;
    const { kernel } = this.#parts;
    let keeper: Keeper | undefined;
    try {
      using socket = terminal ? new ConsoleSocket(kernel, bundle.file("tty")) : undefined;
      const words = [...options.words, "--bundle", bundle.folder, "--pid-file", bundle.pidFile];
      if (socket !== undefined) words.push("--console-socket", socket.path);
      const { stdin, stdout, stderr } = streams.ends;
      const kept = this.#commands.keep(action, bundle.folder, [...words, id], {
        stdio: [stdin, stdout, stderr],
        env,
        prepare,
      });
      keeper = kept.keeper;
      if (!terminal) streams.release();
      await kept.done;
      if (socket !== undefined) streams.attach(this.#stages, socket.receive());
      return { keeper, init: hold(kernel, keeper, bundle.pidFile) };
    } catch (error) {
      if (keeper !== undefined) await this.#undo(id, keeper, bundle);
      await cgroup().kill();
      await cgroup().remove();
      throw error;
    }
  }

  /** What the program can do: asked once. */
  #features(): Promise<ProgramFeatures> {
    return this.#asked ??= ProgramFeatures.ask(this.id, this.#commands, this.#bundles);
  }

  /** Removes what a creation that failed may have left. */
  async #undo(id: string, keeper: Keeper, bundle: Bundle): Promise<void> {
    await this.#forceDelete(id, bundle.folder);
    await keeper.end();
  }

  async #forceDelete(id: string, folder: string): Promise<void> {
    try {
      await this.#commands.run(`cannot delete container ${JSON.stringify(id)}`, folder, ["delete", "--force", id]);
    } catch (error) {
      if (codeOf(error) !== "not_found") throw error;
    }
  }

  async recover(): Promise<readonly string[]> {
    const { folder, cgroups, cgroupParent } = this.#parts;
    const ids = new Set<string>();
    for (const id of readdirSync(`${folder}/state`)) {
      if (this.#tasks.has(id)) continue;
      await this.#forceDelete(id, this.#bundles);
      ids.add(id);
    }
    for (const path of cgroups.below(cgroupParent)) {
      const id = path.slice(cgroupParent.length + 1).split("/")[0] ?? "";
      if (this.#tasks.has(id)) continue;
      const cgroup = cgroups.open(path);
      await cgroup.kill();
      await cgroup.remove();
      ids.add(id);
    }
    for (const name of readdirSync(this.#bundles)) {
      if (!this.#folders.has(name)) rmSync(`${this.#bundles}/${name}`, { recursive: true, force: true });
    }
    return [...ids];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.tasks().map((task) => task.delete()));
    this.#keepers[Symbol.dispose]();
    this.#stages[Symbol.dispose]();
    this.#parts.children.close();
    const { kernel, cgroups, cgroupParent } = this.#parts;
    // Another process may be using the same one.
    cgroups.open(cgroupParent).tryRemove({ below: false });
    for (const path of namedHierarchies(kernel)) {
      kernel.attempt("unlinkat", AT_FDCWD, `${path}${cgroupParent}`, AT_REMOVEDIR);
    }
  }
}

/** Where hierarchies without a controller are mounted (`name=systemd`): other runtimes make cgroups there too. */
function namedHierarchies(kernel: Kernel): readonly string[] {
  return readText(kernel, "/proc/self/mountinfo").split("\n").flatMap((line) => {
    const [before = "", after = ""] = line.split(" - ");
    const path = before.split(" ")[4];
    return after.startsWith("cgroup ") && after.includes("name=") && path !== undefined ? [path] : [];
  });
}
