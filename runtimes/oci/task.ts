import { rmSync } from "node:fs";
import { checkContainerId } from "../../src/core/container_id.ts";
import { Failure } from "../../src/core/errors.ts";
import { InTurn } from "../../src/core/in_turn.ts";
import type { SpecResources } from "../../src/core/spec.ts";
import type {
  CheckpointOptions,
  ExecOptions,
  Executes,
  Exit,
  Measures,
  Pauses,
  Process,
  Resizes,
  Task,
  TaskStats,
  TaskStatus,
  TerminalSize,
  Updates,
} from "../../src/core/task.ts";
import type { NewTaskEvent } from "../../src/core/task_events.ts";
import type { Cgroup } from "../../src/linux/cgroup/mod.ts";
import type { ChildExit } from "../../src/linux/children.ts";
import { SIGKILL } from "../../src/linux/flags.ts";
import { checkSignal } from "../../src/linux/signal.ts";
import type { Stages } from "../../src/linux/stages.ts";
import type { Streams } from "../../src/linux/streams.ts";
import type { Kernel } from "../../src/linux/kernel.ts";
import type { Bundle } from "./bundle.ts";
import type { CriuCommand, DumpOptions } from "./checkpoint.ts";
import type { CommandLine } from "./command_line.ts";
import type { ProgramFeatures } from "./features.ts";
import { json } from "./config_json.ts";
import { OciProcess } from "./exec_process.ts";
import type { Keeper } from "./keeper.ts";
import { hasEnded, type Held } from "./process.ts";

/** How long the end of a process may take that its runtime takes for one that does not run. */
const endingMs = 500;

/** What a task is when it has a process. */
export interface Launched {
  readonly keeper: Keeper;
  readonly init: Held;
}

/** What a task is made of. It owns all of it. */
export interface OciTaskParts {
  readonly id: string;
  readonly kernel: Kernel;
  readonly stages: Stages;
  readonly commands: CommandLine;
  readonly features: ProgramFeatures;
  readonly bundle: Bundle;
  /** Undefined for one that goes on from a checkpoint: runtimes make that and start it in one go. */
  readonly launched: Launched | undefined;
  /** What makes it then. Where it fails, nothing is left of what it made. */
  readonly restore: (() => Promise<Launched>) | undefined;
  readonly streams: Streams;
  readonly cgroup: () => Cgroup;
  /** Resolves when all of its processes stand still. */
  readonly frozen: () => Promise<void>;
  /** Lets them go on. No error where there are none. */
  readonly thaw: () => void;
  /** Undefined where its runtime writes no checkpoints. */
  readonly checkpoint: CheckpointWriter | undefined;
  readonly publish: (event: NewTaskEvent) => void;
  /** Called when all else is removed: lets go of the streams and the bundle. */
  readonly onDelete: () => Promise<void>;
}

/** Writes one container to disk. */
export interface CheckpointWriter {
  /** @throws unimplemented, unavailable. */
  check(): void;
  /** @param run runs a command of the runtime's. */
  dump(options: DumpOptions, run: (action: string, command: CriuCommand) => Promise<unknown>): Promise<void>;
}

/** A container of an OCI runtime's. Its verbs are commands, one after another. */
export class OciTask implements Task, Pauses, Executes, Updates, Measures, Resizes {
  readonly id: string;
  readonly #parts: OciTaskParts;
  /** `Checkpoints.checkpoint`, where its runtime writes them. */
  readonly checkpoint: ((options: CheckpointOptions) => Promise<void>) | undefined;
  readonly #exit = Promise.withResolvers<Exit>();
  readonly #processes = new Map<string, OciProcess | undefined>();
  #launched: Launched | undefined;
  #status: TaskStatus = "created";
  #started = false;
  #failed = false;
  #ended = false;
  #starting: Promise<void> = Promise.resolve();
  /** For verbs, which wait for one another. */
  readonly #turns = new InTurn();
  #deleted: Promise<Exit | undefined> | undefined;

  constructor(parts: OciTaskParts) {
    this.id = parts.id;
    this.#parts = parts;
    // Nobody has to wait for a task.
    this.#exit.promise.catch(() => {});
    const { checkpoint } = parts;
    this.checkpoint = checkpoint && ((options) => this.#checkpoint(checkpoint, options));
    if (parts.launched !== undefined) this.#hold(parts.launched);
  }

  #hold(launched: Launched): void {
    this.#launched = launched;
    const { keeper, init } = launched;
    keeper.exit(init.pid).then((exit) => this.#onExit(exit), (error) => this.#exit.reject(error));
  }

  get status(): TaskStatus {
    return this.#status;
  }

  get pid(): number | undefined {
    return this.#launched?.init.pid;
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

  start(): Promise<void> {
    return this.#starting = this.#turns.hold(async () => {
      this.#want("start", "created");
      try {
        const { restore } = this.#parts;
        if (restore === undefined) await this.#command("start", ["start", this.id]);
        else this.#hold(await restore());
      } catch (error) {
        this.#status = "stopped";
        this.#failed = true;
        this.#exit.reject(error);
        throw error;
      }
      this.#started = true;
      this.#status = "running";
      this.#publish({ type: "start", id: this.id, pid: this.pid });
    });
  }

  wait(): Promise<Exit> {
    return this.#exit.promise;
  }

  async kill(signal = SIGKILL, { all = false }: { readonly all?: boolean } = {}): Promise<void> {
    checkSignal(signal, `container ${JSON.stringify(this.id)}`);
    if (all) {
      for (const pid of this.#ended ? [] : this.#parts.cgroup().pids()) {
        this.#parts.kernel.attempt("kill", pid, signal);
      }
      return;
    }
    await this.#turns.hold(async () => {
      // One that could not be restored has ended, too.
      if (this.#ended || (this.#failed && this.#launched === undefined)) return;
      await this.#signal(signal, this.#demand("signal"));
    });
  }

  pause(): Promise<void> {
    return this.#turns.hold(async () => {
      this.#want("pause", "running");
      await this.#command("pause", ["pause", this.id]);
      // Version 1 stops processes one after another, which not every runtime waits for.
      await this.#parts.frozen();
      if (this.#ended) throw this.#wrongState("pause", "stopped");
      this.#status = "paused";
      this.#publish({ type: "paused", id: this.id });
    });
  }

  resume(): Promise<void> {
    return this.#turns.hold(async () => {
      this.#want("resume", "paused");
      await this.#command("resume", ["resume", this.id]);
      if (!this.#ended) this.#status = "running";
      this.#publish({ type: "resumed", id: this.id });
    });
  }

  exec(options: ExecOptions): Promise<Process> {
    checkContainerId(options.id, "process");
    return this.#turns.hold(async () => {
      this.#want("execute a process in", "running");
      if (this.#processes.has(options.id)) {
        throw new Failure(
          "already_exists",
          `cannot execute process ${JSON.stringify(options.id)} in container ${
            JSON.stringify(this.id)
          }: there is one of this id`,
        );
      }
      const { kernel, stages, commands, bundle } = this.#parts;
      const { keeper } = this.#demand("execute a process in");
      this.#processes.set(options.id, undefined);
      try {
        const process = await OciProcess.start(options, {
          kernel,
          stages,
          commands,
          bundle,
          container: this.id,
          inside: keeper,
          publish: (event) => this.#publish(event),
          onDelete: () => this.#processes.delete(options.id),
        });
        this.#processes.set(options.id, process);
        return process;
      } catch (error) {
        this.#processes.delete(options.id);
        throw error;
      }
    });
  }

  processes(): readonly Process[] {
    return [...this.#processes.values()].filter((process) => process !== undefined);
  }

  #checkpoint({ check, dump }: CheckpointWriter, options: CheckpointOptions): Promise<void> {
    return this.#turns.hold(async () => {
      this.#want("checkpoint", "running");
      const [other] = this.processes();
      if (other !== undefined) {
        throw new Failure(
          "failed_precondition",
          `cannot checkpoint container ${JSON.stringify(this.id)}: process ${
            JSON.stringify(other.id)
          } is in it beside init`,
        );
      }
      check();
      const { bundle, commands, frozen, thaw } = this.#parts;
      const inside = this.#launched?.keeper;
      // CRIU leaves those frozen that it finds so: the runtimes have no word for it.
      await this.#command("pause", ["pause", this.id]);
      try {
        await frozen();
        await dump(
          options,
          (action, { words, ...how }) => commands.run(action, bundle.folder, words, { inside, ...how }),
        );
        await options.whileStopped?.();
        this.#publish({ type: "checkpointed", id: this.id });
        if (options.exit === true) {
          await this.#parts.cgroup().kill();
          await this.#exit.promise;
        }
      } finally {
        if (!this.#ended) thaw();
      }
    });
  }

  update(resources: SpecResources): Promise<void> {
    return this.#turns.hold(async () => {
      if (this.#status === "stopped" || this.#deleted !== undefined) throw this.#wrongState("update", "stopped");
      this.#demand("update");
      this.#parts.features.checkUpdate(resources);
      const file = this.#parts.bundle.write("resources", json(resources));
      try {
        await this.#command("update", ["update", "--resources", file, this.id]);
      } finally {
        rmSync(file, { force: true });
      }
    });
  }

  async resize(size: TerminalSize): Promise<void> {
    this.#parts.streams.resize(size, `container ${JSON.stringify(this.id)}`);
  }

  async stats(): Promise<TaskStats> {
    this.#wantProcess("read the resources of");
    const { oomKills: _, ...stats } = this.#parts.cgroup().stats();
    return stats;
  }

  async pids(): Promise<readonly number[]> {
    this.#wantProcess("list the processes of");
    return [...this.#parts.cgroup().pids()];
  }

  delete(): Promise<Exit | undefined> {
    return this.#deleted ??= this.#turns.hold(() => this.#delete()).catch((error) => {
      // What could not be deleted may be tried again.
      this.#deleted = undefined;
      throw error;
    });
  }

  async #delete(): Promise<Exit | undefined> {
    const { kernel, onDelete } = this.#parts;
    const cgroup = this.#parts.cgroup();
    const launched = this.#launched;
    // A frozen process does not die.
    if (this.#status === "paused" && !this.#ended) await this.#command("resume", ["resume", this.id]);
    let exit: Exit | undefined;
    if (this.#started && launched !== undefined) {
      // What it used is read when it has ended, and before the runtime removes its cgroup.
      if (!hasEnded(kernel, launched.init)) await this.#signal(SIGKILL, launched);
      exit = await this.#exit.promise;
    }
    // What has left the container's process namespace, or never was in one, is in its cgroup still.
    await cgroup.kill();
    if (launched !== undefined) await this.#command("delete", ["delete", "--force", this.id]);
    this.#status = "stopped";
    this.#exit.reject(
      new Failure("failed_precondition", `cannot wait for container ${JSON.stringify(this.id)}: it was never started`),
    );
    await Promise.all(this.#processes.values().map((process) => process?.delete()));
    await launched?.keeper.end();
    if (launched !== undefined && launched.init.pidfd >= 0) kernel.attempt("close", launched.init.pidfd);
    await cgroup.remove();
    await onDelete();
    this.#publish({ type: "delete", id: this.id, exit });
    return exit;
  }

  async #signal(signal: number, { keeper, init }: Launched): Promise<void> {
    try {
      await this.#command("signal", ["kill", this.id, String(signal)]);
    } catch (error) {
      // It may be ending by itself, of which the runtime complains.
      await Promise.race([keeper.exit(init.pid).catch(() => {}), delay(endingMs)]);
      if (!hasEnded(this.#parts.kernel, init)) throw error;
    }
  }

  /** The start is told before the end, which may be known first. */
  async #onExit({ code, signal }: ChildExit): Promise<void> {
    this.#ended = true;
    const exitedAt = new Date();
    const { oomKills, ...usage } = this.#parts.cgroup().stats();
    this.#parts.streams.end();
    await this.#starting.catch(() => {});
    this.#status = "stopped";
    // Its start has failed, or it is deleted before one.
    if (!this.#started && (this.#failed || this.#deleted !== undefined)) return;
    const { id, pid } = this;
    const oomKilled = oomKills > 0;
    if (oomKilled) this.#publish({ type: "oom", id });
    this.#publish({ type: "exit", id, pid, exit: { code, signal, exitedAt } });
    this.#exit.resolve({ code, signal, exitedAt, oomKilled, usage });
  }

  #command(verb: string, words: readonly string[]): Promise<string> {
    const { commands, bundle } = this.#parts;
    const action = `cannot ${verb} container ${JSON.stringify(this.id)}`;
    return commands.run(action, bundle.folder, words, { inside: this.#launched?.keeper });
  }

  #publish(event: NewTaskEvent): void {
    this.#parts.publish(event);
  }

  /** @throws failed_precondition for one that has no process yet. */
  #demand(action: string): Launched {
    if (this.#launched === undefined) throw this.#wrongState(action, this.#status);
    return this.#launched;
  }

  #want(action: string, status: TaskStatus): void {
    if (this.#deleted !== undefined) throw this.#wrongState(action, "deleted");
    const is = this.#ended ? "stopped" : this.#status;
    if (is !== status) throw this.#wrongState(action, is);
  }

  #wantProcess(action: string): void {
    if (this.#ended || this.#deleted !== undefined || !this.#started) {
      throw this.#wrongState(action, this.#ended || this.#deleted !== undefined ? "stopped" : this.#status);
    }
  }

  #wrongState(action: string, state: string): Failure {
    return new Failure("failed_precondition", `cannot ${action} container ${JSON.stringify(this.id)}: it is ${state}`, {
      details: { id: this.id, status: state },
    });
  }
}

function delay(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
