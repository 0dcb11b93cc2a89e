import type { Spec } from "../../src/core/spec.ts";
import type { Spawned } from "../../src/linux/kernel.ts";
import type { Program } from "../../src/linux/program.ts";
import type { Stage, Values } from "../../src/linux/stage.ts";
import type { Descriptors, Stages } from "../../src/linux/stages.ts";
import { createFailure, startFailure } from "./failure.ts";
import type { Launch } from "./launch.ts";
import type { StagedPlan } from "./staged_plan.ts";

export interface StagedLaunchOptions {
  readonly id: string;
  readonly spec: Spec;
  readonly plan: StagedPlan;
  readonly values: Values;
  readonly descriptors: Descriptors;
}

/** A launch whose process is made first, and waits in the container for its start. */
export class StagedLaunch implements Launch {
  readonly init: Spawned;
  /** The other end of its terminal, where it has one. The caller's. */
  readonly terminal: number | undefined;
  readonly #stage: Stage;
  readonly #options: StagedLaunchOptions;

  private constructor(stage: Stage, options: StagedLaunchOptions, terminal: number | undefined) {
    this.terminal = terminal;
    this.#stage = stage;
    this.#options = options;
    this.init = stage.process;
  }

  /** Makes the process. @throws what cannot be done, by the failing step; nothing is left then. */
  static async prepare(stages: Stages, options: StagedLaunchOptions): Promise<StagedLaunch> {
    const { id, spec, plan, values, descriptors } = options;
    const stage = stages.spawn(descriptors);
    const program: Program = [...plan.enter, ...plan.isolate, ...plan.mountRoot, ...plan.furnish];
    try {
      let terminal: number | undefined;
      if (spec.process.terminal === true) terminal = await stage.descriptor(program, values);
      else await stage.run(program, values);
      return new StagedLaunch(stage, options, terminal);
    } catch (error) {
      await stage.abandon();
      throw createFailure(id, program, error);
    }
  }

  async start(): Promise<Spawned> {
    const { id, spec, plan, values } = this.#options;
    try {
      await this.#stage.execute(plan.start, values);
      return this.init;
    } catch (error) {
      throw startFailure(id, spec, plan.start, error);
    }
  }

  /** Ends the process, if no task has taken it. */
  abandon(): Promise<void> {
    return this.#stage.abandon();
  }

  /** A task has the process from here on. */
  take(): void {
    this.#stage.release();
  }

  close(): void {
    // The task has the process: only a descriptor is left.
    this.#stage.abandon().catch(() => {});
  }
}
