import { join } from "node:path";
import {
  type Container,
  ContainerInputSchema,
  type ContainerResources,
  type ContainerStore,
  type ListedContainer,
} from "../core/container.ts";
import { codeOf, Failure } from "../core/errors.ts";
import type { IdRange } from "../core/id_range.ts";
import type { Events } from "../core/event.ts";
import type { Host } from "../core/host.ts";
import { KeyedLock } from "../core/keyed_lock.ts";
import { parse } from "../core/parse.ts";
import type { Runtime } from "../core/runtime.ts";
import { parseSignal } from "../core/signal.ts";
import type { Snapshotter } from "../core/snapshotter.ts";
import { type Spec, SpecSchema } from "../core/spec.ts";
import { demand, type Task, type TaskStats } from "../core/task.ts";
import { unlessAborted } from "../core/unless_aborted.ts";
import { SIGKILL } from "../linux/flags.ts";
import { Kernel } from "../linux/kernel.ts";
import { prepareRootfs } from "./container_rootfs.ts";
import {
  type ContainerExit,
  type ContainerInfo,
  describeContainer,
  exitOf,
  ignoreMissing,
  type Kept,
  keyOf,
  told,
  wrongState,
} from "./container_info.ts";
import { type ContainerRoot, openContainerRoot } from "./container_root.ts";
import { containerSnapshotPrefix, newContainerId } from "./container_run.ts";
import type { IngredientSource } from "./ingredients.ts";
import { KeptContainers } from "./kept_containers.ts";
import { hasLabels } from "./labels.ts";
import type { LiveContainer } from "./live_container.ts";
import { defaultStopSignal, LiveContainers } from "./live_containers.ts";
import type { LogRecord } from "./log_records.ts";
import { removeLog } from "./log_segments.ts";
import { listProcesses, type ProcessInfo } from "./processes.ts";
import { readLog, type ReadLogOptions } from "./read_log.ts";
import { recoverContainers } from "./recover_containers.ts";
import { specWithin } from "./means.ts";
import { generateSpec, limitsOf } from "./spec.ts";
import { goOn, stopLive } from "./stop_live.ts";
import type { Tasks } from "./tasks.ts";
import { whilePaused } from "./while_paused.ts";

export interface ContainersParts {
  readonly host: Host;
  readonly store: ContainerStore;
  readonly tasks: Tasks;
  readonly runtimes: ReadonlyMap<string, Runtime>;
  readonly snapshotters: ReadonlyMap<string, Snapshotter>;
  readonly source: IngredientSource;
  readonly events: Events;
  /** A folder of this one's own, for the logs: `<folder>/<namespace>/<id>/`. */
  readonly folder: string;
  /** Told what fails behind an answer, so that it is logged. */
  readonly onError: (error: unknown, what: string) => void;
}

export interface ContainerFilter {
  /** Those that do not run, too. Default only those that run. */
  readonly all?: boolean;
  /** `name` or `name=value`; all of them have to fit. */
  readonly labels?: readonly string[];
}

/**
 * Containers that live on, in Docker's sense: made once, started and stopped often. The container is metadata, an active
 * snapshot and a log, which outlive the daemon; its task runs in this process and ends with it.
 */
export class Containers implements AsyncDisposable {
  readonly #parts: ContainersParts;
  readonly #kernel: Kernel;
  readonly #kept: KeptContainers;
  readonly #locks = new KeyedLock();
  readonly #pauses = new KeyedLock();
  readonly #live: LiveContainers;
  /** Lets go of the files of containers that do not run. */
  readonly #releases = new Set<() => void>();

  constructor(parts: ContainersParts) {
    this.#parts = parts;
    this.#kernel = new Kernel(parts.host);
    this.#kept = new KeptContainers(parts);
    this.#live = new LiveContainers({
      ...parts,
      kept: this.#kept,
      logFolder: (container) => this.#logFolder(container),
      remove: ({ namespace, id }) => this.remove(namespace, id),
    });
  }

  /**
   * Makes a container and its snapshot; `start` runs it. An image that is not here is pulled.
   * @param input what `ContainerInputSchema` says.
   * @throws invalid_argument for a wrong field; already_exists for a name in use; what pulling and unpacking throw.
   */
  async create(namespace: string, input: unknown): Promise<ContainerInfo> {
    this.#requireOpen();
    const { source, tasks, store, events } = this.#parts;
    const parsed = parse(ContainerInputSchema, input, "cannot create container");
    const settings = { ...parsed, mounts: await source.pin(namespace, parsed.mounts) };
    const imageDigest = await source.resolve(namespace, settings.image, { restore: settings.restore });
    // That it is one is told here, and not at its start.
    if (settings.restore) (await source.checkpoint(imageDigest))[Symbol.dispose]();
    const ingredients = await source.gather(namespace, imageDigest, settings);
    const { config, chain, accounts, ids, runtime, snapshotter, network } = ingredients;
    const stopSignal = settings.stopSignal ?? (config.config?.StopSignal || defaultStopSignal);
    parseSignal(stopSignal);
    const id = newContainerId();
    // Those of its starts are opened then; that it has them is told here.
    await using volumes = await source.volumes(namespace, snapshotter, settings);
    const given = { image: config, settings, volumes: volumes.paths, id, accounts, ids, terminal: settings.tty };
    const generated = generateSpec(given);
    const spec = specWithin(network.apply(generated, settings), tasks.means);
    await tasks.checkCommand(snapshotter, chain, spec);
    await tasks.checkPorts(spec, settings.ports);
    await using undo = new AsyncDisposableStack();
    const snapshotKey = `${containerSnapshotPrefix}${namespace}/${id}`;
    const container = await store.create({
      namespace,
      id,
      image: settings.image,
      imageDigest,
      runtime: runtime.id,
      snapshotter: snapshotter.id,
      snapshotKey,
      spec,
      labels: settings.labels,
      name: settings.name,
      settings: { ...settings, stopSignal },
    });
    undo.defer(async () => {
      await store.delete(namespace, id);
    });
    await prepareRootfs(snapshotter, snapshotKey, chain, { keep: true });
    undo.move();
    events.publish("/containers/create", namespace, told(container));
    return this.#describe(container as Kept);
  }

  /** @throws not_found; invalid_argument where a beginning of an id fits several. */
  async get(namespace: string, reference: string): Promise<ContainerInfo & { readonly spec: Container["spec"] }> {
    const container = await this.#kept.need(namespace, reference);
    return { ...this.#describe(container), spec: container.spec };
  }

  /** The newest first. */
  async list(namespace: string, { all = false, labels = [] }: ContainerFilter = {}): Promise<readonly ContainerInfo[]> {
    const kept = await this.#kept.list(namespace);
    return kept.filter((container) => hasLabels(container.labels, labels)).map((container) => this.#describe(container))
      .filter(({ status }) => all || status === "running" || status === "paused")
      .sort((a, b) => b.createdAt.getTime() - a.createdAt.getTime());
  }

  /**
   * Runs a container's process. Its output goes to its log.
   * @param options.attach called before the process runs, to take its output from the first byte on.
   * @throws failed_precondition where it runs already; as `Task.start`, with the container left as exited.
   */
  async start(
    namespace: string,
    reference: string,
    options: { readonly attach?: (live: LiveContainer) => void } = {},
  ): Promise<ContainerInfo> {
    const { id } = await this.#kept.need(namespace, reference);
    return await this.#locks.hold(keyOf(namespace, id), async () => {
      this.#requireOpen();
      const container = await this.#kept.need(namespace, id);
      if (this.#live.has(keyOf(namespace, id))) throw wrongState("start", container, "running");
      return this.#describe(await this.#live.launch(container, options.attach));
    });
  }

  /**
   * Asks a container to end, waits, and kills it where it has not. Resolves when it has ended; no error when it had before.
   * @param options.signal default the container's `stopSignal`. @param options.graceMs default its `stopGraceMs`.
   */
  async stop(
    namespace: string,
    reference: string,
    options: { readonly signal?: string | number | undefined; readonly graceMs?: number | undefined } = {},
  ): Promise<ContainerInfo> {
    const container = await this.#kept.need(namespace, reference);
    const { settings, id } = container;
    const signal = parseSignal(options.signal ?? settings.stopSignal ?? defaultStopSignal);
    const live = this.#live.get(keyOf(namespace, id));
    if (live !== undefined) await stopLive(live, signal, options.graceMs ?? settings.stopGraceMs);
    return this.#describe(await this.#kept.need(namespace, id));
  }

  /** Signals a container's init. @param signal default SIGKILL. @throws failed_precondition when it does not run. */
  async kill(namespace: string, reference: string, signal: string | number = SIGKILL): Promise<void> {
    const number = parseSignal(signal);
    const { task } = await this.live(namespace, reference, "signal");
    await task.kill(number);
    // A frozen process dies of nothing, not even of SIGKILL, where cgroups are of version 1.
    if (number === SIGKILL) await goOn(task);
  }

  /**
   * Waits for a container's end, with all of its output in its log.
   * @param options.next waits for the end of the next run, where it does not run now.
   * @throws failed_precondition for one that was never started; aborted by the signal.
   */
  async wait(
    namespace: string,
    reference: string,
    options: { readonly next?: boolean; readonly signal?: AbortSignal } = {},
  ): Promise<ContainerExit> {
    const container = await this.#kept.need(namespace, reference);
    const key = keyOf(namespace, container.id);
    const live = this.#live.get(key);
    if (live !== undefined) return exitOf(await unlessAborted(live.ended, options.signal));
    if (options.next === true) return exitOf(await unlessAborted(this.#live.nextExit(key), options.signal));
    if (container.state === undefined) throw wrongState("wait for", container, "created, and was never started");
    return exitOf(container.state);
  }

  async pause(namespace: string, reference: string): Promise<void> {
    await demand((await this.live(namespace, reference, "pause")).task, "pause").pause();
  }

  async resume(namespace: string, reference: string): Promise<void> {
    await demand((await this.live(namespace, reference, "resume")).task, "pause").resume();
  }

  /** Changes labels (all of them are replaced) and limits; those of a container that runs at once. */
  async update(
    namespace: string,
    reference: string,
    changes: { readonly resources?: ContainerResources; readonly labels?: Readonly<Record<string, string>> },
  ): Promise<ContainerInfo> {
    const { id } = await this.#kept.need(namespace, reference);
    const key = keyOf(namespace, id);
    return await this.#locks.hold(key, async () => {
      const container = await this.#kept.need(namespace, id);
      const { resources = {}, labels } = changes;
      const limits = limitsOf(resources);
      const live = this.#live.get(key);
      if (live !== undefined && Object.keys(limits).length > 0) await demand(live.task, "update").update(limits);
      const spec = parse(SpecSchema, container.spec, `cannot update container ${JSON.stringify(id)}: its spec`);
      const updated = await this.#kept.record(container, {
        ...(labels && { labels: { ...labels } }),
        settings: { ...container.settings, ...resources, ...(labels && { labels: { ...labels } }) },
        spec: withLimits(spec, limits),
      });
      this.#parts.events.publish("/containers/update", namespace, told(updated));
      return this.#describe(updated);
    });
  }

  /** @throws failed_precondition when it does not run; unimplemented. */
  async stats(namespace: string, reference: string): Promise<TaskStats> {
    return await demand((await this.live(namespace, reference, "measure")).task, "stats").stats();
  }

  /** @throws as `stats`. */
  async processes(namespace: string, reference: string): Promise<readonly ProcessInfo[]> {
    return await this.processesOf((await this.live(namespace, reference, "list the processes of")).task);
  }

  /** The processes of any task. @throws as `stats`. */
  async processesOf(task: Task): Promise<readonly ProcessInfo[]> {
    return listProcesses(this.#kernel, await demand(task, "stats").pids());
  }

  /**
   * Opens a container's files: as its process sees them, or those of its snapshot. That keeps it from being started or
   * removed until it is disposed of, where it does not run.
   * @throws as `openContainerRoot`.
   */
  async files(namespace: string, reference: string): Promise<ContainerRoot> {
    const { id } = await this.#kept.need(namespace, reference);
    const key = keyOf(namespace, id);
    const open = async () => {
      const container = await this.#kept.need(namespace, id);
      const snapshotter = this.#kept.snapshotter(container);
      return await openContainerRoot(this.#kernel, {
        task: this.#live.get(key)?.task,
        snapshotter,
        key: container.snapshotKey,
        ids: container.settings.userns === "auto" ? idsOf(container.spec) : undefined,
      });
    };
    if (this.#live.has(key)) return await open();
    const opened = Promise.withResolvers<ContainerRoot>();
    const released = Promise.withResolvers<void>();
    this.#releases.add(released.resolve);
    this.#live.own(this.#locks.hold(key, async () => {
      try {
        using root = await open();
        opened.resolve({ fd: root.fd, live: root.live, [Symbol.dispose]: () => released.resolve() });
        await released.promise;
      } catch (error) {
        opened.reject(error);
      } finally {
        this.#releases.delete(released.resolve);
      }
    }));
    return await opened.promise;
  }

  /** Does something while no process of a container runs, where they can be stopped; it goes on behind it. Others who want the same wait for it. */
  async whilePaused<T>(namespace: string, reference: string, work: () => Promise<T>): Promise<T> {
    const { id, runtime } = await this.#kept.need(namespace, reference);
    if (this.#parts.runtimes.get(runtime)?.abilities.has("pause") !== true) return await work();
    const key = keyOf(namespace, id);
    // Not the lock of starting and ending: a container can be killed and removed meanwhile.
    return await this.#pauses.hold(key, () => whilePaused(this.#live.get(key)?.task, work));
  }

  /** Reads the log. @param options.follow goes on while the container runs. */
  async logs(
    namespace: string,
    reference: string,
    options: Omit<ReadLogOptions, "follow"> & { readonly follow?: boolean } = {},
  ): Promise<AsyncGenerator<LogRecord>> {
    const container = await this.#kept.need(namespace, reference);
    const { follow = false, ...rest } = options;
    const log = follow ? this.#live.get(keyOf(namespace, container.id))?.log : undefined;
    return readLog(this.#logFolder(container), { ...rest, follow: log });
  }

  /**
   * Removes a container, its snapshot and its log.
   * @param options.force kills it first where it runs. @throws failed_precondition where it runs.
   */
  async remove(namespace: string, reference: string, options: { readonly force?: boolean } = {}): Promise<void> {
    const { id } = await this.#kept.need(namespace, reference);
    const key = keyOf(namespace, id);
    await this.#locks.hold(key, async () => {
      const container = await this.#kept.need(namespace, id);
      const live = this.#live.get(key);
      if (live !== undefined) {
        if (options.force !== true) throw wrongState("remove", container, "running: stop it first, or use force");
        await stopLive(live, SIGKILL, Infinity);
      }
      await ignoreMissing(this.#kept.snapshotter(container).remove(container.snapshotKey));
      removeLog(this.#logFolder(container));
      // Last, since it is what a second attempt would find.
      await this.#parts.store.delete(namespace, id);
      this.#live.removed(key, id);
      this.#parts.events.publish("/containers/delete", namespace, told(container));
    });
  }

  /** Removes all that do not run. @returns their ids. */
  async prune(namespace: string, labels: readonly string[] = []): Promise<readonly string[]> {
    const removed: string[] = [];
    for (const { id, status } of await this.list(namespace, { all: true, labels })) {
      if (status === "running" || status === "paused") continue;
      try {
        await this.remove(namespace, id);
        removed.push(id);
      } catch (error) {
        // It was started or removed in between.
        if (codeOf(error) !== "failed_precondition" && codeOf(error) !== "not_found") throw error;
      }
    }
    return removed;
  }

  /**
   * The running side of a container, for who attaches.
   * @param action what fails where it does not run, as the message has it. @throws failed_precondition; not_found.
   */
  async live(namespace: string, reference: string, action = "attach to"): Promise<LiveContainer> {
    const container = await this.#kept.need(namespace, reference);
    const live = this.#live.get(keyOf(namespace, container.id));
    if (live !== undefined) return live;
    throw wrongState(action, container, container.state === undefined ? "created" : "exited");
  }

  /** As `recoverContainers`. Call it after `Tasks.recover`, before anything is started. */
  recover(options: { readonly keepAll?: boolean } = {}): Promise<readonly string[]> {
    return recoverContainers(this.#parts, options);
  }

  /** Stops what runs, each as `stop` does, and takes nothing new. @param signal kills what has not ended by then. */
  async drain(signal: AbortSignal): Promise<void> {
    await this.#live.drain(signal);
  }

  /** Kills what runs, and waits until its end is recorded. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.drain(AbortSignal.abort());
    // Who still copies is cut off.
    for (const release of this.#releases) release();
    await this.#live.close();
  }

  #describe(kept: Kept<ListedContainer>): ContainerInfo {
    const task = this.#live.get(keyOf(kept.namespace, kept.id))?.task;
    return describeContainer(kept, task && { task, ...this.#parts.tasks.reach(task) });
  }

  #logFolder({ namespace, id }: Container): string {
    return join(this.#parts.folder, namespace, id);
  }

  #requireOpen(): void {
    if (this.#live.closed) throw new Failure("unavailable", "no container is started: the daemon is shutting down");
  }
}

/** Whose users a container's are. */
function idsOf(spec: Container["spec"]): IdRange | undefined {
  const [map] = parse(SpecSchema, spec, "cannot read the container's spec").linux.uidMappings ?? [];
  return map && { first: map.hostID, size: map.size };
}

function withLimits(spec: Spec, limits: ReturnType<typeof limitsOf>): Spec {
  return { ...spec, linux: { ...spec.linux, resources: { ...spec.linux.resources, ...limits } } };
}
