import type { SpecProcess } from "../../src/core/spec.ts";
import type { Operation, Program } from "../../src/linux/program.ts";
import { announce } from "../../src/linux/stage.ts";
import type { CgroupView } from "./mounts.ts";
import { cloneFlags, goOnInChild, type Namespaces } from "./namespaces.ts";
import { mostDescriptors } from "../../src/linux/stages.ts";
import { become, type BecomeOptions, enterCgroups, setOomScore } from "./plan.ts";
import { setAffinity } from "./scheduling.ts";
import { hide } from "./staged_plan.ts";
import { giveStdio, type StdioKinds } from "./stdio.ts";
import { becomeNamespaceRoot, hostId, type UserMaps } from "./user_namespace.ts";
import { openTerminal } from "./terminal.ts";

/** Where the process finds the pidfd of the container's init: behind all that it may keep. */
export const initDescriptor = mostDescriptors - 1;

export interface ExecPlanOptions extends BecomeOptions {
  /** The container's. */
  readonly namespaces: Namespaces;
  readonly maps: UserMaps | undefined;
  readonly cgroups: readonly CgroupView[];
  readonly stdio: StdioKinds;
}

/**
 * Plans one more process of a container: first it comes inside, then it becomes the user's. It begins with nothing of the daemon in it. What needs the
 * host's files comes first; then all of the container's namespaces at once, by the descriptor of its init, so that it is the
 * right container however old its process id is.
 */
export function execPlan(process: SpecProcess, options: ExecPlanOptions): Program {
  const { settings: { identity }, maps } = options;
  return [
    ...hide(),
    ...giveStdio(options.stdio, maps === undefined ? identity.uid : hostId(maps.uids, identity.uid) ?? 0),
    ...setAffinity(process.execCPUAffinity?.initial, "process.execCPUAffinity.initial"),
    ...enterCgroups(options.cgroups),
    ...setAffinity(process.execCPUAffinity?.final, "process.execCPUAffinity.final"),
    ...setOomScore(process.oomScoreAdj),
    ...enterContainer(options.namespaces),
    { syscall: "setsid", args: [], why: "leave the daemon's session" },
    { syscall: "umask", args: [0], why: "make files with exactly the modes that are asked for" },
    ...process.terminal === true ? openTerminal(process, identity.uid, { console: false }) : [announce()],
    ...become({ process }, options),
  ];
}

/** Joins the namespaces of the process whose pidfd is at `initDescriptor`. */
export function* enterContainer({ made, joined }: Namespaces): Generator<Operation> {
  const types = [...made, ...joined.keys()];
  const flags = types.reduce((all, type) => all | cloneFlags[type], 0);
  yield {
    syscall: "setns",
    args: [initDescriptor, flags],
    why: `join the container's namespaces: ${types.join(", ")}`,
  };
  yield { syscall: "close", args: [initDescriptor], why: "let go of the container's init" };
  if (types.includes("user")) yield* becomeNamespaceRoot();
  if (types.includes("pid") || types.includes("time")) yield* goOnInChild("enter the container's pid namespace");
}
