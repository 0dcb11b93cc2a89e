import { mkdirSync, readdirSync, rmSync } from "node:fs";
import { checkContainerId } from "../../src/core/container_id.ts";
import { codeOf, Failure } from "../../src/core/errors.ts";
import type { CreateTask, Exit, Runtime, Task, TaskEvent } from "../../src/core/runtime.ts";
import type { Spec } from "../../src/core/spec.ts";
import type { Ability } from "../../src/core/task.ts";
import { type NewTaskEvent, TaskEvents } from "../../src/core/task_events.ts";
import { containerCgroupPath } from "../../src/linux/cgroup/container_path.ts";
import { freezerOf, frozen } from "../../src/linux/cgroup/freezer.ts";
import type { Cgroups } from "../../src/linux/cgroup/mod.ts";
import { readText } from "../../src/linux/cgroup/read.ts";
import type { Children } from "../../src/linux/children.ts";
import { AT_FDCWD, AT_REMOVEDIR } from "../../src/linux/flags.ts";
import type { Kernel } from "../../src/linux/kernel.ts";
import { mountRootfs } from "../../src/linux/mount/rootfs.ts";
import { Stages } from "../../src/linux/stages.ts";
import { Streams } from "../../src/linux/streams.ts";
import type { Operation } from "../../src/linux/program.ts";
import { Bundle } from "./bundle.ts";
import { CommandLine } from "./command_line.ts";
import { ConsoleSocket } from "./console_socket.ts";
import { ProgramFeatures } from "./features.ts";
import { type Keeper, Keepers } from "./keeper.ts";
import { hold } from "./process.ts";
import { OciTask } from "./task.ts";

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
    const able: readonly Ability[] = ["pause", "exec", "update", "stats", "resize"];
    this.abilities = new Set(able.filter((ability) => !parts.lacks.includes(ability)));
    this.#parts = parts;
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
    if (options.checkpoint !== undefined) {
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

  async #create({ id, spec, rootfs, stdio, networkNamespace }: CreateTask): Promise<OciTask> {
    const { kernel, cgroups, cgroupParent } = this.#parts;
    const features = await this.#features();
    features.check(spec);
    const cgroupsPath = containerCgroupPath(cgroupParent, id, spec);
    const prepare: Operation[] = [];
    const mounting = mountRootfs(rootfs, this.#mountPoint);
    let step = mounting.next();
    for (; step.done !== true; step = mounting.next()) prepare.push(step.value);
    const namespaces = spec.linux.namespaces?.map((each) =>
      each.type !== "network" || networkNamespace === undefined
        ? each
        : { ...each, path: `/proc/${kernel.host.pid}/fd/${networkNamespace}` }
    );
    const complete: Spec = { ...spec, linux: { ...spec.linux, namespaces, cgroupsPath } };
    const cgroup = () => cgroups.open(cgroupsPath);
    // Short: sockets lie in it, whose paths are limited.
    const name = crypto.randomUUID().slice(0, 8);
    this.#folders.add(name);
    const bundle = new Bundle(`${this.#bundles}/${name}`, complete, step.value);
    const terminal = spec.process.terminal === true;
    let streams: Streams | undefined;
    let keeper: Keeper | undefined;
    try {
      streams = new Streams(kernel, stdio ?? {}, terminal);
      using socket = terminal ? new ConsoleSocket(kernel, bundle.file("tty")) : undefined;
      const words = ["create", "--bundle", bundle.folder, "--pid-file", bundle.pidFile];
      if (socket !== undefined) words.push("--console-socket", socket.path);
      const { stdin, stdout, stderr } = streams.ends;
      const action = `cannot create container ${JSON.stringify(id)}`;
      const kept = this.#commands.keep(action, bundle.folder, [...words, id], {
        stdio: [stdin, stdout, stderr],
        prepare,
      });
      keeper = kept.keeper;
      if (!terminal) streams.release();
      await kept.done;
      if (socket !== undefined) streams.attach(this.#stages, socket.receive());
      const init = hold(kernel, keeper, bundle.pidFile);
      const publish = (event: NewTaskEvent) => this.#events.publish(event);
      publish({ type: "create", id, pid: init.pid });
      const task = new OciTask({
        id,
        kernel,
        stages: this.#stages,
        commands: this.#commands,
        features,
        bundle,
        keeper,
        init,
        streams,
        cgroup,
        frozen: async () => {
          const own = cgroup();
          const freezer = freezerOf(cgroups.layout, own);
          if (freezer !== undefined) await frozen(own, freezer);
        },
        publish,
        onDelete: () => {
          this.#tasks.delete(id);
          this.#folders.delete(name);
        },
      });
      return task;
    } catch (error) {
      await streams?.close();
      if (keeper !== undefined) await this.#undo(id, keeper, bundle);
      await cgroup().kill();
      await cgroup().remove();
      bundle.remove();
      this.#folders.delete(name);
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
