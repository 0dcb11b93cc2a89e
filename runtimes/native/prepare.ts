import { Failure } from "../../src/core/errors.ts";
import type { Spec } from "../../src/core/spec.ts";
import { KnownResults } from "../../src/linux/known_results.ts";
import type { Kernel } from "../../src/linux/kernel.ts";
import type { Operation } from "../../src/linux/program.ts";
import type { Stage, Values } from "../../src/linux/stage.ts";
import { createFailure } from "./failure.ts";
import type { Hooks } from "./hooks.ts";
import type { StagedPlan } from "./staged_plan.ts";
import { writeMaps, writeTimeOffsets } from "./user_namespace.ts";

export interface PrepareOptions {
  readonly id: string;
  readonly spec: Spec;
  readonly plan: StagedPlan;
  readonly values: Values;
  readonly hooks: Hooks;
}

/**
 * Makes a process into a container that waits for its start. Parts of the plan go to it together where the daemon has
 * nothing to do between them.
 * @returns the terminal's master, where it has one: the caller's.
 * @throws the failing step, or hook. The caller ends the process then.
 */
export async function prepareContainer(
  kernel: Kernel,
  stage: Stage,
  options: PrepareOptions,
): Promise<number | undefined> {
  const { id, spec, plan, values, hooks } = options;
  const known = new KnownResults();
  let pending: readonly Operation[] = [];
  /** Sends what is pending. */
  const flush = async () => {
    const program = known.bind(pending);
    pending = [];
    try {
      known.add(program, await stage.run(program, values));
    } catch (error) {
      throw createFailure(id, program, error);
    }
  };
  /** Does the daemon's own part. */
  const act = async (own: (pid: number) => void) => {
    await flush();
    try {
      own(stage.process.pid);
    } catch (error) {
      throw error instanceof Failure ? inContext(id, error) : error;
    }
  };
  const { maps, timeOffsets } = plan;
  pending = plan.enter;
  if (maps !== undefined) await act((pid) => writeMaps(kernel, pid, maps));
  pending = [...pending, ...plan.isolate];
  if (timeOffsets) await act((pid) => writeTimeOffsets(kernel, pid, timeOffsets));
  pending = [...pending, ...plan.inhabit, ...plan.mountRoot];
  if (hooks.has("prestart", "createRuntime", "createContainer")) {
    await flush();
    try {
      for (const turn of ["prestart", "createRuntime", "createContainer"] as const) {
        await hooks.run(turn, stage.process);
      }
    } catch (error) {
      throw error instanceof Failure ? inContext(id, error) : error;
    }
  }
  pending = [...pending, ...plan.furnish];
  if (spec.process.terminal !== true) return void await flush();
  const program = known.bind(pending);
  try {
    return await stage.descriptor(program, values);
  } catch (error) {
    throw createFailure(id, program, error);
  }
}

function inContext(id: string, error: Failure): Failure {
  return new Failure(error.code, `cannot create container ${JSON.stringify(id)}: ${error.message}`, { cause: error });
}
