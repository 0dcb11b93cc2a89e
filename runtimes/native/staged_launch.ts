import type { Spec } from "../../src/core/spec.ts";
import type { Spawned } from "../../src/linux/kernel.ts";
import type { Program } from "../../src/linux/program.ts";
import type { Stage, Values } from "../../src/linux/stage.ts";
import type { Stages } from "../../src/linux/stages.ts";
import { type StdioEnds, streamNames } from "../../src/linux/stdio_pipes.ts";
import { createFailure, startFailure } from "./failure.ts";
import type { Launch } from "./launch.ts";
import type { StagedPlan } from "./staged_plan.ts";

export interface StagedLaunchOptions {
  readonly id: string;
  readonly spec: Spec;
  readonly plan: StagedPlan;
  readonly values: Values;
  readonly stdio: StdioEnds;
}

/** A launch whose process is made first, and waits in the container for its start. */
export class StagedLaunch implements Launch {
  readonly init: Spawned;
  readonly #stage: Stage;
  readonly #options: StagedLaunchOptions;

  private constructor(stage: Stage, options: StagedLaunchOptions) {
    this.#stage = stage;
    this.#options = options;
    this.init = stage.release();
  }

  /** Makes the process. @throws what cannot be done, by the failing step; nothing is left then. */
  static async prepare(stages: Stages, options: StagedLaunchOptions): Promise<StagedLaunch> {
    const { id, plan, values, stdio } = options;
    const stage = stages.spawn(new Map(streamNames.map((name, index) => [index, stdio[name] ?? null])));
    const program: Program = [...plan.enter, ...plan.isolate, ...plan.mountRoot, ...plan.furnish];
    try {
      await stage.run(program, values);
      return new StagedLaunch(stage, options);
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

  close(): void {
    // Nothing is left to be waited for: the process was given away.
    void this.#stage.abandon();
  }
}
