import type { Spec } from "../../src/core/spec.ts";
import * as f from "../../src/linux/flags.ts";
import type { Operation, Program } from "../../src/linux/program.ts";
import { init } from "../../src/linux/stub/layout.ts";
import { takeNamespaces } from "./namespaces.ts";
import { become, enterCgroups, furnish, mountRoot, type PlanOptions } from "./plan.ts";
import { giveStdio } from "./stdio.ts";
import { openTerminal } from "./terminal.ts";

/**
 * A launch in stages: the same steps as `plan`, in parts between which the daemon has something to do. The process begins in
 * the daemon's namespaces, with its descriptors in place and nothing of the daemon's memory.
 */
export interface StagedPlan {
  /** Takes the place that the daemon gives it, in its cgroups. */
  readonly enter: Program;
  /** Makes and joins namespaces, and goes on as the process that is to be the container's. */
  readonly isolate: Program;
  /** Mounts the root filesystem. */
  readonly mountRoot: Program;
  /** Everything else that is there before the container starts. */
  readonly furnish: Program;
  /** Becomes the container's process. */
  readonly start: Program;
}

/** Plans a launch in stages. @throws as `plan`. */
export function stagedPlan(spec: Spec, options: PlanOptions): StagedPlan {
  const { settings: { namespaces, identity }, cgroups } = options;
  return {
    enter: [...hide(), ...giveStdio(options.stdio, identity.uid), ...enterCgroups(cgroups)],
    isolate: [
      ...takeNamespaces(namespaces),
      { syscall: "setsid", args: [], why: "leave the daemon's session" },
    ],
    mountRoot: [...mountRoot(options)],
    furnish: [
      ...furnish(spec, options),
      ...spec.process.terminal === true ? openTerminal(spec.process, identity.uid, { console: true }) : [],
    ],
    start: [...become(spec, options)],
  };
}

/**
 * Keeps the process to itself: whoever comes to see it from inside a container can neither read its memory nor follow its
 * descriptors, without rights outside of the container. It lasts until execve.
 */
export function* hide(): Generator<Operation> {
  const why = "close the daemon's socket when something is executed";
  yield { syscall: "fcntl", args: [init.control, f.F_SETFD, f.FD_CLOEXEC], why };
  yield { syscall: "prctl", args: [f.PR_SET_DUMPABLE, 0, 0, 0, 0], why: "close the process to others' eyes" };
}
