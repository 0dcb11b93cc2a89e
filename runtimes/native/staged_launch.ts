import type { Spawned } from "../../src/linux/kernel.ts";
import type { Program } from "../../src/linux/program.ts";
import type { Stage } from "../../src/linux/stage.ts";
import type { Descriptors, Stages } from "../../src/linux/stages.ts";
import type { Templates } from "../../src/linux/templates.ts";
import { createFailure, startFailure } from "./failure.ts";
import type { Launch } from "./launch.ts";
import { prepareContainer, type PrepareOptions } from "./prepare.ts";
import type { StagedPlan } from "./staged_plan.ts";

interface StartOptions extends Omit<PrepareOptions, "plan"> {
  readonly plan: Pick<StagedPlan, "start">;
}

export interface StagedLaunchOptions extends PrepareOptions {
  readonly descriptors: Descriptors;
}

/** A launch in parts, of which the first one ends in the stub. */
export interface ParkedPlan extends Pick<StagedPlan, "start"> {
  readonly templates: Templates;
  /** What the process goes on with by itself, before its start. */
  readonly settle: Program;
}

export interface ParkOptions extends StartOptions {
  readonly plan: ParkedPlan;
  /** The flags of clone3(2). */
  readonly flags: number;
  /** A network namespace that was made ahead; -1 where there is none, undefined where none is wanted. */
  readonly network: number | undefined;
}

/** A launch whose process is made first, and waits in the container for its start. */
export class StagedLaunch implements Launch {
  readonly init: Spawned;
  /** The other end of its terminal, where it has one. The caller's. */
  readonly terminal: number | undefined;
  readonly #stage: Stage;
  readonly #options: StartOptions;
  /** Waits for what the process is at by itself. @throws what that failed with. */
  #settled: () => Promise<void> = () => Promise.resolve();

  private constructor(stage: Stage, options: StartOptions, terminal: number | undefined) {
    this.terminal = terminal;
    this.#stage = stage;
    this.#options = options;
    this.init = stage.process;
  }

  /** Makes the process. @throws what cannot be done, by the failing step or hook; nothing is left then. */
  static async prepare(stages: Stages, options: StagedLaunchOptions): Promise<StagedLaunch> {
    const stage = stages.spawn(options.descriptors);
    try {
      return new StagedLaunch(stage, options, await prepareContainer(stages.kernel, stage, options));
    } catch (error) {
      await stage.abandon();
      // The end of a container's life, however short that was.
      await options.hooks.try("poststop", stage.process);
      throw error;
    }
  }

  /** Makes the process where the daemon has nothing to do in between. @throws as `prepare`. */
  static async park(stages: Stages, options: ParkOptions): Promise<StagedLaunch> {
    const { id, values, flags, network, plan: { templates } } = options;
    const parked = network === undefined ? values : { ...values, network };
    let launch: StagedLaunch;
    try {
      launch = new StagedLaunch(await stages.launch(templates, parked, { flags }), options, undefined);
    } catch (error) {
      throw createFailure(id, templates.program, error);
    }
    launch.#settle(options);
    return launch;
  }

  /** Lets the process become the container's, all but its command, while nobody waits for that. */
  #settle({ id, spec, values, plan: { settle } }: ParkOptions): void {
    const done = this.#stage.ahead(settle, values);
    this.#settled = async () => {
      try {
        await done();
      } catch (error) {
        throw startFailure(id, spec, settle, error);
      }
    };
  }

  async start(env?: readonly string[]): Promise<Spawned> {
    const { id, spec, plan, values, hooks } = this.#options;
    await this.#settled();
    try {
      await hooks.run("startContainer", this.init);
      await this.#stage.execute(plan.start, env === undefined ? values : { ...values, envp: [...env, 0] });
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
