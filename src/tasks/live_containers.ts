import type { Container, ContainerRunState, ContainerStore } from "../core/container.ts";
import { codeOf, Failure, messageOf } from "../core/errors.ts";
import { parse } from "../core/parse.ts";
import { parseSignal } from "../core/signal.ts";
import { SpecSchema } from "../core/spec.ts";
import { SIGKILL } from "../linux/flags.ts";
import { type Kept, keyOf, unknownExitCode } from "./container_info.ts";
import { ContainerLog } from "./container_log.ts";
import type { IngredientSource } from "./ingredients.ts";
import type { KeptContainers } from "./kept_containers.ts";
import { killSoon } from "./kill_soon.ts";
import { LiveContainer } from "./live_container.ts";
import { NextExits } from "./next_exits.ts";
import { withVolumes } from "./spec_mounts.ts";
import { stopLive } from "./stop_live.ts";
import type { Tasks } from "./tasks.ts";

export interface LiveContainersParts {
  readonly store: ContainerStore;
  readonly tasks: Tasks;
  readonly source: IngredientSource;
  readonly kept: KeptContainers;
  /** Where a container's log is. */
  readonly logFolder: (container: Container) => string;
  /** Removes a container that does not run. */
  readonly remove: (container: Container) => Promise<void>;
  /** Told what fails behind an answer, so that it is logged. */
  readonly onError: (error: unknown, what: string) => void;
}

export const defaultStopSignal = "SIGTERM";

/** The containers that run, from their launch until their end is recorded. Keys are those of `keyOf`. */
export class LiveContainers {
  readonly #parts: LiveContainersParts;
  readonly #live = new Map<string, LiveContainer>();
  /** Starts that are not done, and the ends of what runs; none of them rejects. */
  readonly #busy = new Set<Promise<void>>();
  readonly #nextExits = new NextExits();
  #closed = false;

  constructor(parts: LiveContainersParts) {
    this.#parts = parts;
  }

  /** Whether nothing new is taken any more. */
  get closed(): boolean {
    return this.#closed;
  }

  get(key: string): LiveContainer | undefined {
    return this.#live.get(key);
  }

  has(key: string): boolean {
    return this.#live.has(key);
  }

  /** The next end of a container that does not run, as `NextExits.of`. */
  nextExit(key: string): Promise<ContainerRunState> {
    return this.#nextExits.of(key);
  }

  /** Tells those who wait for that of a container which has been removed. */
  removed(key: string, id: string): void {
    this.#nextExits.removed(key, id);
  }

  /**
   * Runs a container's process, and sees it to its end.
   * @param attach called before the process runs. @throws as `Containers.start`.
   */
  async launch(container: Kept, attach: ((live: LiveContainer) => void) | undefined): Promise<Kept> {
    const launch = this.#launch(container, attach);
    this.own(launch.then(() => {}, () => {}));
    return await launch;
  }

  /** Waits for something before `close` is done. @param work never rejects. */
  own(work: Promise<void>): void {
    const owned = work.finally(() => this.#busy.delete(owned));
    this.#busy.add(owned);
  }

  /** Stops what runs, each as `stop` does, and takes nothing new. @param signal kills what has not ended by then. */
  async drain(signal: AbortSignal): Promise<void> {
    this.#closed = true;
    const kill = () => {
      for (const live of this.#live.values()) killSoon(live.task);
    };
    signal.addEventListener("abort", kill);
    try {
      await Promise.all(Array.from(this.#live.entries(), async ([key, live]) => {
        if (signal.aborted) return await stopLive(live, SIGKILL, Infinity);
        const slash = key.indexOf("/");
        const container = await this.#parts.store.get(key.slice(0, slash), key.slice(slash + 1));
        const { stopSignal = defaultStopSignal, stopGraceMs = 0 } = container?.settings ?? {};
        await stopLive(live, parseSignal(stopSignal), stopGraceMs);
      }));
    } finally {
      signal.removeEventListener("abort", kill);
    }
  }

  /** Resolves when every end is recorded; who waits for a next one is told that there will be none. */
  async close(): Promise<void> {
    while (this.#busy.size > 0) await Promise.all(this.#busy);
    this.#nextExits.close();
  }

  async #launch(container: Kept, attach: ((live: LiveContainer) => void) | undefined): Promise<Kept> {
    const { namespace, id, settings } = container;
    const runtime = this.#parts.kept.runtime(container);
    const spec = parse(SpecSchema, container.spec, `cannot start container ${JSON.stringify(id)}: its spec`);
    const snapshotter = this.#parts.kept.snapshotter(container);
    const mounts = await snapshotter.mounts(container.snapshotKey);
    await using opened = new AsyncDisposableStack();
    const volumes = opened.use(await this.#parts.source.volumes(namespace, snapshotter, settings));
    // What it wrote since is not what the checkpoint has open.
    const restores = settings.restore && container.state === undefined;
    using checkpoint = restores ? await this.#parts.source.checkpoint(container.imageDigest ?? "") : undefined;
    const task = await this.#parts.tasks.create({
      id,
      namespace,
      image: container.image,
      labels: container.labels,
      runtime,
      spec: withVolumes(spec, volumes.paths),
      rootfs: { mounts },
      ports: settings.ports,
      ...(checkpoint && { checkpoint: checkpoint.folder }),
      stdio: { stdin: settings.stdinOpen },
    });
    const startedAt = new Date();
    let live: LiveContainer | undefined;
    try {
      const log = new ContainerLog({
        folder: this.#parts.logFolder(container),
        maxBytes: settings.logBytes,
        onTrouble: (error) => this.#parts.onError(error, `cannot write the log of container ${id}`),
      });
      live = new LiveContainer(task, log);
      attach?.(live);
      // Before it runs: a daemon that is killed knows then that it had been running.
      const started = await this.#parts.kept.record(container, { state: { startedAt } });
      await task.start();
      this.#live.set(keyOf(namespace, id), live);
      this.own(this.#end(started, live, startedAt, opened.move()));
      if (this.#closed) killSoon(task);
      return started;
    } catch (error) {
      await task.delete();
      await live?.captured();
      const { exitCode } = error instanceof Failure ? error.details ?? {} : {};
      const state = {
        startedAt,
        finishedAt: new Date(),
        exitCode: typeof exitCode === "number" ? exitCode : 128,
        error: messageOf(error),
      };
      await this.#parts.kept.record(container, { state });
      this.#settle(container, live, state);
      if (settings.autoRemove) this.own(this.#forget(container));
      throw error;
    }
  }

  /** Sees a container's task to its end. Never rejects. */
  async #end(container: Kept, live: LiveContainer, startedAt: Date, volumes: AsyncDisposable): Promise<void> {
    const { namespace, id } = container;
    const key = keyOf(namespace, id);
    let state: ContainerRunState;
    try {
      const { code, oomKilled, exitedAt } = await live.task.wait();
      state = { startedAt, finishedAt: exitedAt, exitCode: code, oomKilled };
    } catch (error) {
      state = { startedAt, finishedAt: new Date(), exitCode: unknownExitCode, error: messageOf(error) };
    }
    const failed = (what: string) => (error: unknown) =>
      this.#parts.onError(error, `cannot ${what} container ${id} behind its end`);
    await live.captured().catch(failed("close the log of"));
    await live.task.delete().catch(failed("delete the task of"));
    await Promise.resolve(volumes[Symbol.asyncDispose]()).catch(failed("let go of the images of"));
    await this.#parts.kept.record(container, { state }).catch(failed("record the exit of"));
    this.#live.delete(key);
    this.#settle(container, live, state);
    if (container.settings.autoRemove) await this.#forget(container);
  }

  /** Removes a container that was to be removed when it has ended. Never rejects; the next start tries again. */
  async #forget(container: Container): Promise<void> {
    try {
      await this.#parts.remove(container);
    } catch (error) {
      // Somebody else has removed it, or has started it again.
      if (codeOf(error) === "not_found" || codeOf(error) === "failed_precondition") return;
      this.#parts.onError(error, `cannot remove container ${container.id} behind its end`);
    }
  }

  #settle({ namespace, id }: Container, live: LiveContainer | undefined, state: ContainerRunState): void {
    const key = keyOf(namespace, id);
    live?.settle(state);
    this.#nextExits.settle(key, state);
  }
}
