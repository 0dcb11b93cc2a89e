import { Failure, messageOf } from "../../src/core/errors.ts";
import { InTurn } from "../../src/core/in_turn.ts";
import type { Logger } from "../../src/core/logger.ts";
import type { SpecResources } from "../../src/core/spec.ts";
import type {
  CheckpointOptions,
  Checkpoints,
  ExecOptions,
  Executes,
  Exit,
  Measures,
  Pauses,
  Process,
  Resizes,
  StartOptions,
  Task,
  TaskStats,
  TaskStatus,
  TerminalSize,
  Updates,
} from "../../src/core/task.ts";
import type { NewTaskEvent } from "../../src/core/task_events.ts";
import type { Cgroup, Cgroups, CgroupStats, OomWatch } from "../../src/linux/cgroup/mod.ts";
import type { ChildExit, Children } from "../../src/linux/children.ts";
import { namespacePids } from "../../src/linux/namespace_pids.ts";
import { networkUsage } from "../../src/linux/network_usage.ts";
import { PIDFD_GET_MNT_NAMESPACE, SIGCONT, SIGKILL } from "../../src/linux/flags.ts";
import type { Kernel, Spawned } from "../../src/linux/kernel.ts";
import { standStill } from "./checkpoint.ts";
import type { Hooks } from "./hooks.ts";
import type { Launch } from "./launch.ts";
import type { Processes } from "./processes.ts";
import { checkSignal, sendSignal } from "../../src/linux/signal.ts";
import type { Streams } from "../../src/linux/streams.ts";

/** What a task is made of. It owns all of it. */
export interface TaskParts {
  readonly id: string;
  readonly kernel: Kernel;
  readonly children: Children;
  readonly cgroups: Cgroups;
  readonly cgroup: Cgroup;
  /** The spec's rules about devices. */
  readonly devices: SpecResources["devices"];
  readonly streams: Streams;
  readonly processes: Processes;
  readonly ooms: OomWatch;
  /** Whether the end of init ends all of the container: it has a pid namespace of its own. */
  readonly initIsLast: boolean;
  /** Whether its network is not the host's. */
  readonly ownNetwork: boolean;
  readonly launch: Launch;
  readonly hooks: Hooks;
  /** Writes a process and all below it to disk, and leaves them stopped. */
  readonly dump: (pid: number, options: CheckpointOptions) => Promise<void>;
  /** Takes what fails and changes nothing. */
  readonly log: Logger;
  /** Keeps the cgroup for another container. @returns false where it has to be removed. */
  readonly keepCgroup: (stats: CgroupStats) => boolean;
  readonly publish: (event: NewTaskEvent) => void;
  /** Called when everything is removed. */
  readonly onDelete: () => void;
}

/** A container that this process launched. */
export class NativeTask implements Task, Checkpoints, Executes, Measures, Pauses, Resizes, Updates {
  readonly id: string;
  readonly #parts: TaskParts;
  readonly #exit = Promise.withResolvers<Exit>();
  #status: TaskStatus = "created";
  #pid: number | undefined;
  #pidfd: number | undefined;
  /** The cgroup's numbers behind the end of init, when they have been asked for. */
  #stats: CgroupStats | undefined;
  /** Keeps the container's mounts, if they are to outlast init. */
  #mounts: number | undefined;
  #deleted: Promise<Exit | undefined> | undefined;
  #started = false;
  /** Whether the start came to nothing. */
  #failed = false;
  /** Settles when the process that waited has been started. */
  #starting: Promise<unknown> | undefined;
  /** Resolves when init is gone. */
  #reaped: Promise<void> | undefined;
  /** For verbs that wait for one another. */
  readonly #turns = new InTurn();
  /** The rules about devices that hold for it, those of updates too. */
  #devices: NonNullable<SpecResources["devices"]>;
  /** Whether its cgroup is not as it was created. */
  #altered = false;
  /** Whether init is as good as dead. */
  #killed = false;
  /** How many kills for want of memory are told. */
  #oomKills = 0;
  #oomStuck = false;
  #unwatchOom: (() => void) | undefined;

  constructor(parts: TaskParts) {
    this.id = parts.id;
    this.#parts = parts;
    this.#devices = parts.devices ?? [];
    // Nobody has to wait for a task.
    this.#exit.promise.catch(() => {});
    if (parts.launch.init === undefined) return;
    this.#watch(parts.launch.init);
    this.#holdMounts(parts.launch.init);
  }

  /**
   * Of a container that waits, somebody wants to know the end soon: taking its mounts down, which waits for all of the
   * machine's processors, is left to `delete`. The kernel would do it before it tells the end. Before Linux 6.11 it does.
   */
  #holdMounts({ pidfd }: Spawned): void {
    const fd = this.#parts.kernel.attempt("ioctl", pidfd, PIDFD_GET_MNT_NAMESPACE, 0);
    if (fd >= 0) this.#mounts = fd;
  }

  #releaseMounts(): void {
    if (this.#mounts !== undefined) this.#parts.kernel.attempt("close", this.#mounts);
    this.#mounts = undefined;
  }

  get status(): TaskStatus {
    return this.#status;
  }

  get pid(): number | undefined {
    return this.#pid;
  }

  get stdin(): WritableStream<Uint8Array> | undefined {
    return this.#parts.streams.stdin;
  }

  get stdout(): ReadableStream<Uint8Array<ArrayBuffer>> | undefined {
    return this.#parts.streams.stdout;
  }

  get stderr(): ReadableStream<Uint8Array<ArrayBuffer>> | undefined {
    return this.#parts.streams.stderr;
  }

  async start({ env }: StartOptions = {}): Promise<void> {
    if (this.#status !== "created" || this.#started || this.#deleted !== undefined) {
      throw this.#wrongState("start", this.#deleted === undefined ? this.#status : "deleted");
    }
    const { launch, streams } = this.#parts;
    this.#started = true;
    try {
      const starting = launch.start(env);
      if (starting instanceof Promise) this.#starting = starting;
      const init = starting instanceof Promise ? await starting : starting;
      this.#status = "running";
      this.#parts.publish({ type: "start", id: this.id, pid: init.pid });
      if (launch.init === undefined) this.#watch(init);
    } catch (error) {
      this.#status = "stopped";
      this.#failed = true;
      this.#exit.reject(error);
      if (this.#pidfd !== undefined) sendSignal(this.#parts.kernel, this.#pidfd, SIGKILL, this.#name);
      throw error;
    } finally {
      streams.release();
    }
    await this.#hooks("poststart");
  }

  /** Waits, while it is being started, for a process that is not known before. */
  async #known(): Promise<void> {
    if (this.#parts.launch.init === undefined) await this.#starting?.catch(() => {});
  }

  /** Runs hooks whose failure changes nothing. */
  async #hooks(turn: "poststart" | "poststop"): Promise<void> {
    const { hooks, log } = this.#parts;
    if (this.#pid === undefined || !hooks.has(turn)) return;
    for (const error of await hooks.try(turn, { pid: this.#pid })) {
      log.warn(`${this.#name}: ${messageOf(error)}`, { id: this.id });
    }
  }

  /** Takes a process for the container's init. */
  #watch(init: Spawned): void {
    this.#pid = init.pid;
    this.#pidfd = init.pidfd;
    this.#reaped = this.#parts.children.wait(init.pidfd).then(async (ended) => {
      // Its start is told before its end.
      if (this.#starting !== undefined) await this.#starting.catch(() => {});
      this.#ended(ended);
    }).catch((error) => this.#exit.reject(error));
  }

  wait(): Promise<Exit> {
    return this.#exit.promise;
  }

  async kill(signal = SIGKILL, options: { readonly all?: boolean } = {}): Promise<void> {
    checkSignal(signal, this.#name);
    await this.#known();
    if (this.#status === "created" && this.#pid === undefined) throw this.#wrongState("signal", "created");
    // A cgroup of a deleted task may be another's by now.
    if (options.all === true && this.#deleted === undefined) this.#signalAll(signal);
    else if (this.#pidfd !== undefined) sendSignal(this.#parts.kernel, this.#pidfd, signal, this.#name);
    if (signal !== SIGKILL || this.#pidfd === undefined) return;
    this.#killed = true;
    // Version 1 freezes processes so that not even this signal reaches them.
    if (this.#altered) this.#parts.cgroups.thaw(this.#parts.cgroup);
  }

  pause(): Promise<void> {
    return this.#turns.hold(async () => {
      if (this.status !== "running" || this.#killed) {
        throw this.#wrongState("pause", this.#killed ? "being killed" : this.status);
      }
      this.#altered = true;
      const { cgroups, cgroup, publish } = this.#parts;
      try {
        await cgroups.freeze(cgroup);
      } catch (error) {
        if (this.status !== "running") throw this.#wrongState("pause", this.status);
        throw error;
      }
      // It may have been killed meanwhile.
      if (this.status !== "running") throw this.#wrongState("pause", this.status);
      this.#status = "paused";
      publish({ type: "paused", id: this.id });
    });
  }

  resume(): Promise<void> {
    return this.#turns.hold(async () => {
      if (this.status !== "paused" || this.#killed) {
        throw this.#wrongState("resume", this.#killed ? "being killed" : this.status);
      }
      this.#parts.cgroups.thaw(this.#parts.cgroup);
      this.#status = "running";
      this.#parts.publish({ type: "resumed", id: this.id });
    });
  }

  checkpoint(options: CheckpointOptions): Promise<void> {
    return this.#turns.hold(async () => {
      if (this.status !== "running" || this.#pid === undefined || this.#killed) {
        throw this.#wrongState("checkpoint", this.#killed ? "being killed" : this.status);
      }
      const { dump, processes, publish } = this.#parts;
      const [other] = processes.list();
      if (other !== undefined) {
        throw new Failure(
          "failed_precondition",
          `cannot checkpoint ${this.#name}: process ${JSON.stringify(other.id)} is in it beside init`,
        );
      }
      await dump(this.#pid, options);
      try {
        await standStill(this.#pids());
        await options.whileStopped?.();
        publish({ type: "checkpointed", id: this.id });
        if (options.exit === true) {
          await this.kill();
          await this.#reaped;
        }
      } finally {
        if (this.#running) this.#signalAll(SIGCONT);
      }
    });
  }

  update(resources: SpecResources): Promise<void> {
    return this.#turns.hold(async () => {
      if (this.status === "stopped" || this.#deleted !== undefined) throw this.#wrongState("update", "stopped");
      this.#altered = true;
      this.#parts.cgroups.update(this.#parts.cgroup, resources, this.#devices);
      this.#devices = [...this.#devices, ...resources.devices ?? []];
    });
  }

  async exec(options: ExecOptions): Promise<Process> {
    const { processes } = this.#parts;
    if (this.#status !== "running" || this.#pidfd === undefined || this.#killed) {
      throw this.#wrongState("execute in", this.#killed ? "being killed" : this.#status);
    }
    try {
      return await processes.exec(options, this.#pidfd);
    } catch (error) {
      // Whatever step met with the container's end.
      if (!this.#running || this.#killed) throw this.#wrongState("execute in", this.#status);
      throw error;
    }
  }

  processes(): readonly Process[] {
    return this.#parts.processes.list();
  }

  async resize(size: TerminalSize): Promise<void> {
    this.#parts.streams.resize(size, this.#name);
  }

  async stats(): Promise<TaskStats> {
    this.#needProcess("read the resources of");
    const { cgroup, kernel, ownNetwork } = this.#parts;
    const { oomKills: _, ...stats } = cgroup.stats();
    return ownNetwork && this.#pid !== undefined ? { ...stats, ...networkUsage(kernel, this.#pid) } : stats;
  }

  async pids(): Promise<readonly number[]> {
    this.#needProcess("list the processes of");
    return [...this.#pids()];
  }

  #signalAll(signal: number): void {
    const { cgroup, kernel } = this.#parts;
    if (cgroup.folders.size > 0) cgroup.signal(signal);
    else for (const pid of this.#pids()) kernel.attempt("kill", pid, signal);
  }

  /** Where it has no cgroup, an ordinary user's container is told by its pid namespace. */
  #pids(): ReadonlySet<number> {
    const { cgroup, initIsLast } = this.#parts;
    if (cgroup.folders.size > 0) return cgroup.pids();
    if (this.#pid === undefined) return new Set();
    return initIsLast ? namespacePids(this.#pid) : new Set([this.#pid]);
  }

  /** Whether init is there, and has been started. */
  get #running(): boolean {
    return this.#status === "running" || this.#status === "paused";
  }

  get #name(): string {
    return `container ${JSON.stringify(this.id)}`;
  }

  /** Tells of want for memory while it happens, from here on, and not only at the end. */
  watchOom(): void {
    const { ooms, cgroup } = this.#parts;
    if (this.#status === "stopped" || this.#deleted !== undefined) return;
    try {
      this.#unwatchOom ??= ooms.watch(cgroup, ({ kills, stuck }) => this.#ranOut(kills, stuck));
    } catch {
      // The machine has no descriptors or processes left for it. What is not told now, is told at the end.
    }
  }

  #ranOut(kills: number, stuck = false): void {
    const told = kills <= this.#oomKills && (!stuck || this.#oomStuck);
    this.#oomKills = Math.max(kills, this.#oomKills);
    this.#oomStuck ||= stuck;
    if (!told) this.#parts.publish({ type: "oom", id: this.id });
  }

  #needProcess(action: string): void {
    if (!this.#running) throw this.#wrongState(action, this.#status);
  }

  delete(): Promise<Exit | undefined> {
    return this.#deleted ??= this.#delete();
  }

  async #delete(): Promise<Exit | undefined> {
    const { cgroup, streams, initIsLast, keepCgroup, launch, onDelete, processes } = this.#parts;
    let exit: Exit | undefined;
    try {
      await this.#known();
      if (this.#pidfd !== undefined) await this.kill();
      // Before init, whose end the kernel tells only when they are reaped.
      await processes.clear();
      launch.close();
      await this.#reaped;
      if (this.#started && !this.#failed) exit = await this.#exit.promise;
      else {
        this.#status = "stopped";
        this.#exit.reject(
          new Failure(
            "failed_precondition",
            `cannot wait for container ${JSON.stringify(this.id)}: it was never started`,
          ),
        );
      }
    } finally {
      this.#unwatchOom?.();
      this.#releaseMounts();
      await streams.close();
      if (!initIsLast) await cgroup.kill();
      await this.#turns.done;
      const stats = this.#pid !== undefined && this.#status === "stopped" ? this.#lastStats() : undefined;
      const kept = !this.#altered && stats !== undefined && keepCgroup(stats);
      if (!kept && !cgroup.tryRemove()) await cgroup.remove();
      await this.#hooks("poststop");
      onDelete();
      this.#parts.publish({ type: "delete", id: this.id, exit });
    }
    return exit;
  }

  #ended({ code, signal }: ChildExit): void {
    const { cgroup, kernel, streams, processes, initIsLast } = this.#parts;
    this.#status = "stopped";
    this.#unwatchOom?.();
    streams.end();
    // They end with it, in whatever pid namespace they are.
    if (!initIsLast) processes.kill();
    if (this.#pidfd !== undefined) kernel.attempt("close", this.#pidfd);
    this.#pidfd = undefined;
    try {
      // Its start has failed, or it is deleted before one: that is told, not the end of what was made ready for it.
      if (this.#failed || (!this.#started && this.#deleted !== undefined)) return;
      const oomKills = cgroup.oomKills();
      const usage = () => this.#lastUsage();
      // Of all that, what it used is read last: who waits for the end does not wait for that.
      const exit = {
        code,
        signal,
        exitedAt: new Date(),
        oomKilled: oomKills > 0,
        get usage() {
          return usage();
        },
      };
      const { id } = this;
      this.#ranOut(oomKills);
      this.#parts.publish({ type: "exit", id, pid: this.#pid, exit: { code, signal, exitedAt: exit.exitedAt } });
      this.#exit.resolve(exit);
    } catch (error) {
      this.#exit.reject(error);
    }
  }

  #lastUsage(): TaskStats {
    const { oomKills: _, ...usage } = this.#lastStats();
    return usage;
  }

  /** The cgroup's numbers, whose last change was the end of init. */
  #lastStats(): CgroupStats {
    return this.#stats ??= this.#parts.cgroup.stats();
  }

  #wrongState(action: string, state: string): Failure {
    return new Failure("failed_precondition", `cannot ${action} ${this.#name}: it is ${state}`, {
      details: { id: this.id, status: state },
    });
  }
}
