import type { SpecProcess } from "../../src/core/spec.ts";
import { forkedDescriptors } from "../../src/linux/fork_server.ts";
import type { Operation, Program } from "../../src/linux/program.ts";
import { keepDescriptors, mostDescriptors } from "../../src/linux/stages.ts";
import { streamNames } from "../../src/linux/stdio_pipes.ts";
import type { CgroupView } from "./mounts.ts";
import { cloneFlags, goOnInChild, type Namespaces, type NamespaceType } from "./namespaces.ts";
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
  /** How many descriptors it keeps behind its standard streams. */
  readonly preserved: number;
}

/**
 * Plans one more process of a container: first it comes inside, then it becomes the user's. It begins with nothing of the
 * daemon in it, as a clone of the fork server in the container's pid namespace, and with what that has passed: each standard
 * stream that is not /dev/null, and what it preserves. What needs the host's files comes first; then all other namespaces of
 * the container at once, by the descriptor of its init, so that it is the right container however old its process id is.
 */
export function execPlan(process: SpecProcess, options: ExecPlanOptions): Program {
  const { settings: { identity }, maps } = options;
  return [
    ...hide(),
    ...keepDescriptors(passedDescriptors(options)),
    ...giveStdio(options.stdio, maps === undefined ? identity.uid : hostId(maps.uids, identity.uid) ?? 0),
    ...setAffinity(process.execCPUAffinity?.initial, "process.execCPUAffinity.initial"),
    ...enterCgroups(options.cgroups),
    ...setAffinity(process.execCPUAffinity?.final, "process.execCPUAffinity.final"),
    ...setOomScore(process.oomScoreAdj),
    ...join(namespaceTypes(options.namespaces).filter((type) => type !== "pid")),
    { syscall: "setsid", args: [], why: "leave the daemon's session" },
    { syscall: "umask", args: [0], why: "make files with exactly the modes that are asked for" },
    ...process.terminal === true ? openTerminal(process, identity.uid, { console: false }) : [],
    ...become({ process }, options),
  ];
}

/** Where it has what was passed to it. */
function passedDescriptors({ stdio, preserved }: ExecPlanOptions): Map<number, number | null> {
  let next = forkedDescriptors.first;
  const places = new Map<number, number | null>();
  for (const [index, name] of streamNames.entries()) places.set(index, stdio[name] === "null" ? null : next++);
  for (let index = 0; index < preserved; index++) places.set(streamNames.length + index, next++);
  return places.set(initDescriptor, forkedDescriptors.beside);
}

/** Joins the namespaces of the process whose pidfd is at `initDescriptor`, in a process that goes on as its own child. */
export function* enterContainer(namespaces: Namespaces): Generator<Operation> {
  const types = namespaceTypes(namespaces);
  yield* join(types);
  if (types.includes("pid") || types.includes("time")) yield* goOnInChild("enter the container's pid namespace");
}

function* join(types: readonly NamespaceType[]): Generator<Operation> {
  const flags = types.reduce((all, type) => all | cloneFlags[type], 0);
  yield {
    syscall: "setns",
    args: [initDescriptor, flags],
    why: `join the container's namespaces: ${types.join(", ")}`,
  };
  yield { syscall: "close", args: [initDescriptor], why: "let go of the container's init" };
  if (types.includes("user")) yield* becomeNamespaceRoot();
}

function namespaceTypes({ made, joined }: Namespaces): readonly NamespaceType[] {
  return [...made, ...joined.keys()];
}
