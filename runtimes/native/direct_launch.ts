import type { Spec } from "../../src/core/spec.ts";
import type { Spawned } from "../../src/linux/kernel.ts";
import type { Template } from "../../src/linux/template.ts";
import { startFailure } from "./failure.ts";
import type { Launch } from "./launch.ts";

export interface DirectLaunchOptions {
  readonly id: string;
  readonly spec: Spec;
  /** The plan, asked for when it is run: it may have made room for others since. */
  readonly template: () => Template;
  readonly spawn: (template: Template, env: readonly string[] | undefined) => Spawned;
}

/** A launch from nothing to the container's command at once: no process is there before the start. */
export function directLaunch({ id, spec, template, spawn }: DirectLaunchOptions): Launch {
  return {
    init: undefined,
    start(env) {
      const plan = template();
      try {
        return spawn(plan, env);
      } catch (error) {
        throw startFailure(id, spec, plan.program, error);
      }
    },
    close() {},
  };
}
