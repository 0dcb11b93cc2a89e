import { checkContainerId } from "../../src/core/container_id.ts";
import { Failure } from "../../src/core/errors.ts";
import type { ExecOptions, Process } from "../../src/core/task.ts";
import type { NewTaskEvent } from "../../src/core/task_events.ts";
import type { Cgroup } from "../../src/linux/cgroup/mod.ts";
import type { ForkServer } from "../../src/linux/fork_server.ts";
import type { Spawned } from "../../src/linux/kernel.ts";
import type { Stages } from "../../src/linux/stages.ts";
import { launchExec } from "./exec_launch.ts";
import type { ExecPlans } from "./exec_plans.ts";
import { processValues } from "./launch_values.ts";
import { NativeProcess } from "./process.ts";
import { noStreams, stdioKinds } from "./stdio.ts";
import { Streams } from "../../src/linux/streams.ts";

/** What the processes of one container have in common. */
export interface ProcessesParts {
  readonly stages: Stages;
  readonly forks: ForkServer;
  readonly plans: ExecPlans;
  readonly cgroup: Cgroup;
  /** The container's id. */
  readonly id: string;
  readonly publish: (event: NewTaskEvent) => void;
}

/** The processes of a container beside its init. */
export class Processes {
  readonly #parts: ProcessesParts;
  readonly #processes = new Map<string, NativeProcess>();
  readonly #starting = new Map<string, Promise<NativeProcess>>();

  constructor(parts: ProcessesParts) {
    this.#parts = parts;
  }

  list(): readonly Process[] {
    return [...this.#processes.values()];
  }

  /**
   * Starts one more.
   * @param init the pidfd of the container's init.
   * @throws as `Executes.exec`; nothing is left then.
   */
  async exec(options: ExecOptions, init: number): Promise<NativeProcess> {
    const { id } = options;
    checkContainerId(id, "process");
    if (this.#processes.has(id) || this.#starting.has(id)) {
      throw new Failure("already_exists", `cannot start process ${JSON.stringify(id)}: there is one of this id`);
    }
    const started = this.#start(options, init);
    this.#starting.set(id, started);
    try {
      return await started;
    } finally {
      this.#starting.delete(id);
    }
  }

  /** Kills those that run. */
  kill(): void {
    for (const each of this.#processes.values()) each.kill().catch(() => {});
  }

  /** Kills and deletes all, those that are being started too. */
  async clear(): Promise<void> {
    await Promise.allSettled(this.#starting.values());
    await Promise.all(Array.from(this.#processes.values(), (each) => each.delete()));
  }

  async #start({ id, process: spec, stdio }: ExecOptions, init: number): Promise<NativeProcess> {
    const { stages, forks, plans, cgroup, publish } = this.#parts;
    const { kernel } = stages;
    const terminal = spec.terminal === true;
    const plan = plans.get(spec, stdioKinds(kernel, terminal ? noStreams : stdio));
    await using undo = new AsyncDisposableStack();
    const streams = new Streams(kernel, stdio ?? {}, terminal);
    undo.defer(() => streams.close());
    publish({ type: "exec-added", id: this.#parts.id, process: id });
    const spawned = await launchExec(forks, {
      id,
      process: spec,
      plan,
      values: processValues(spec, cgroup),
      descriptors: streams.descriptors,
      init,
      onTerminal: (master) => streams.attach(stages, master),
    });
    streams.release();
    undo.move();
    return this.#started(id, spawned, streams);
  }

  #started(id: string, spawned: Spawned, streams: Streams): NativeProcess {
    const { stages: { kernel, children }, publish } = this.#parts;
    const task = this.#parts.id;
    publish({ type: "exec-started", id: task, process: id, pid: spawned.pid });
    const started = new NativeProcess({
      id,
      kernel,
      children,
      process: spawned,
      streams,
      onExit: (exit) => publish({ type: "exit", id: task, pid: spawned.pid, exit, process: id }),
      onDelete: () => this.#processes.delete(id),
    });
    this.#processes.set(id, started);
    return started;
  }
}
