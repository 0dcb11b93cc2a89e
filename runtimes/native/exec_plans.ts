import type { Spec, SpecProcess } from "../../src/core/spec.ts";
import type { Hierarchy } from "../../src/linux/cgroup/mod.ts";
import type { Kernel } from "../../src/linux/kernel.ts";
import type { Program } from "../../src/linux/program.ts";
import type { Blueprints } from "./blueprints.ts";
import { execPlan } from "./exec_plan.ts";
import { candidates } from "./execute.ts";
import { identityOf } from "./identity.ts";
import { checkLabels } from "./labels.ts";
import { cgroupViews } from "./launch_values.ts";
import { type Namespaces, namespacesOf } from "./namespaces.ts";
import type { Manner } from "./plan.ts";
import { rlimitsOf } from "./rlimits.ts";
import type { StdioKinds } from "./stdio.ts";
import { refuseUnsupported } from "./unsupported.ts";
import { userMapsOf } from "./user_namespace.ts";

export interface ExecPlansParts {
  readonly kernel: Kernel;
  readonly blueprints: Blueprints;
  /** The container's. */
  readonly spec: Spec;
  readonly hierarchies: readonly Hierarchy[];
  readonly manner?: Manner;
  /** How many descriptors each keeps behind its standard streams. Default 0. */
  readonly preserved?: number;
}

/** How many are kept of one container: a health check, and what somebody types. */
const most = 4;

/** The plans for more processes of one container. Those that differ in arguments and environment alone share one. */
export class ExecPlans {
  readonly #parts: ExecPlansParts;
  readonly #namespaces: Namespaces;
  readonly #known = new Map<string, Program>();

  constructor(parts: ExecPlansParts) {
    this.#parts = parts;
    this.#namespaces = namespacesOf(parts.spec);
  }

  /** The plan for a process, its command in holes. @throws what cannot be met, by name. */
  get(process: SpecProcess, stdio: StdioKinds): Program {
    const { args: _args, env: _env, ...rest } = process;
    const key = JSON.stringify([rest, candidates(process), stdio]);
    let plan = this.#known.get(key);
    if (plan !== undefined) return plan;
    plan = this.#plan(process, stdio);
    const [oldest] = this.#known.keys();
    if (this.#known.size >= most && oldest !== undefined) this.#known.delete(oldest);
    this.#known.set(key, plan);
    return plan;
  }

  #plan(process: SpecProcess, stdio: StdioKinds): Program {
    const { kernel, blueprints, spec, hierarchies, manner, preserved = 0 } = this.#parts;
    const namespaces = this.#namespaces;
    refuseUnsupported({ ociVersion: spec.ociVersion, process, linux: {} });
    const settings = { identity: identityOf(process), rlimits: rlimitsOf(process) };
    blueprints.rights.check(process, settings.identity, settings.rlimits, namespaces);
    checkLabels(kernel, process);
    return execPlan({ oomScoreAdj: spec.process.oomScoreAdj, ...process }, {
      settings,
      namespaces,
      maps: userMapsOf(spec, namespaces, settings.identity),
      cgroups: cgroupViews(hierarchies),
      stdio,
      preserved,
      rights: blueprints.rights,
      seccomp: blueprints.filter(spec.linux.seccomp),
      personality: spec.linux.personality,
      ...(manner === undefined ? {} : { manner }),
    });
  }
}
