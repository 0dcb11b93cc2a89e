import type { Spec } from "../../src/core/spec.ts";
import type { Spawned } from "../../src/linux/kernel.ts";
import type { Templates } from "../../src/linux/templates.ts";
import { startFailure } from "./failure.ts";
import type { Launch } from "./launch.ts";

export interface DirectLaunchOptions {
  readonly id: string;
  readonly spec: Spec;
  /** The plan, asked for when it is run: it may have made room for others since. */
  readonly templates: () => Templates;
  readonly spawn: (templates: Templates, env: readonly string[] | undefined) => Promise<Spawned>;
}

/** A launch from nothing to the container's command at once: no process is there before the start. */
export function directLaunch({ id, spec, templates, spawn }: DirectLaunchOptions): Launch {
  return {
    init: undefined,
    async start(env) {
      const plan = templates();
      try {
        return await spawn(plan, env);
      } catch (error) {
        throw startFailure(id, spec, plan.program, error);
      }
    },
    close() {},
  };
}
