import { statSync } from "node:fs";
import { Failure } from "../../src/core/errors.ts";
import type { Spec } from "../../src/core/spec.ts";
import * as f from "../../src/linux/flags.ts";
import { raiseLoopback } from "../../src/linux/loopback.ts";
import type { Argument, Operation } from "../../src/linux/program.ts";
import { mostDescriptors } from "../../src/linux/stages.ts";
import { quote } from "./steps.ts";

export const cloneFlags = {
  pid: f.CLONE_NEWPID,
  network: f.CLONE_NEWNET,
  mount: f.CLONE_NEWNS,
  ipc: f.CLONE_NEWIPC,
  uts: f.CLONE_NEWUTS,
  cgroup: f.CLONE_NEWCGROUP,
  user: f.CLONE_NEWUSER,
  time: f.CLONE_NEWTIME,
} as const;
export type NamespaceType = keyof typeof cloneFlags;

/**
 * Namespaces that only a process with nothing of the daemon in it may join: one that shares the daemon's memory must not be
 * visible inside another container.
 */
const joinedInStages: readonly NamespaceType[] = ["pid", "mount", "user", "time"];

/** Namespaces that cannot be made before the process is there. */
const madeInStages: readonly NamespaceType[] = ["user", "time"];

/** The namespaces of a container: which are new, which are joined. What is in neither is shared with the host. */
export interface Namespaces {
  readonly made: ReadonlySet<NamespaceType>;
  readonly joined: ReadonlyMap<NamespaceType, string>;
}

/**
 * Reads `linux.namespaces`.
 * @throws invalid_argument for one that is named twice, is missing or must not be joined.
 */
export function namespacesOf(spec: Spec): Namespaces {
  const made = new Set<NamespaceType>();
  const joined = new Map<NamespaceType, string>();
  for (const { type, path } of spec.linux.namespaces ?? []) {
    if (made.has(type) || joined.has(type)) {
      throw new Failure("invalid_argument", `cannot use linux.namespaces: ${quote(type)} is there twice`);
    }
    if (path === undefined || path === "") made.add(type);
    else joined.set(type, path);
  }
  const mounts = joined.get("mount");
  if (mounts !== undefined) checkMounts(mounts, { made, joined });
  else if (!made.has("mount")) {
    throw new Failure("invalid_argument", "cannot run without a mount namespace: linux.namespaces has none");
  }
  const { timeOffsets } = spec.linux;
  if (timeOffsets && Object.keys(timeOffsets).length > 0 && !made.has("time")) {
    throw new Failure("invalid_argument", "cannot use linux.timeOffsets: they need a new time namespace");
  }
  return { made, joined };
}

/** The root of a mount namespace that is joined becomes the container's, for all who are in it. */
function checkMounts(path: string, namespaces: Namespaces): void {
  const refuse = (why: string) => {
    throw new Failure("invalid_argument", `cannot join the mount namespace ${quote(path)}: ${why}`, {
      details: { field: "linux.namespaces", type: "mount" },
    });
  };
  if (["/proc/self/ns/mnt", "/proc/1/ns/mnt"].some((file) => isSame(path, file))) refuse("it is the machine's own");
  // The kernel lets nobody mount there who has rights in another user namespace alone.
  if (hasOwnUsers(namespaces)) refuse("it cannot be combined with a user namespace");
}

/** The names that /proc has for those which this process is in. */
const hostFiles = { ipc: "/proc/self/ns/ipc", uts: "/proc/self/ns/uts" } as const;

/** Whether what the container sets in a namespace is set for the host: it has none, or joins that one. */
export function sharesHosts({ made, joined }: Namespaces, type: keyof typeof hostFiles): boolean {
  if (made.has(type)) return false;
  const path = joined.get(type);
  if (path === undefined) return true;
  return isSame(path, hostFiles[type]);
}

/** Whether two files are one namespace. One that is not there, or closed to this process, is refused when it is to be joined. */
function isSame(...files: readonly [string, string]): boolean {
  try {
    const [one, other] = files.map((file) => statSync(file, { bigint: true }));
    return one?.ino === other?.ino && one?.dev === other?.dev;
  } catch {
    return false;
  }
}

/** Whether the container has users of its own, or another's. */
export function hasOwnUsers({ made, joined }: Namespaces): boolean {
  return made.has("user") || joined.has("user");
}

/**
 * The flags of clone3(2). The cgroup namespace is made later, when the child is in its cgroup: its root is the cgroup at
 * that moment. The network namespace may be there already.
 */
export function cloneFlagsOf({ made }: Namespaces): number {
  let flags = 0;
  for (const type of made) if (type !== "cgroup" && type !== "network") flags |= cloneFlags[type];
  return flags;
}

/** Where a process that is launched in stages finds the network namespace that it is given, if it is. */
export const networkDescriptor = mostDescriptors - 5;

/**
 * Takes the network namespace that is there already, or makes one where there is none. It comes before the daemon's
 * descriptors are closed.
 * @param descriptor of the namespace. Default: what fills the hole `network`, -1 for none.
 */
export function* takeNetwork(
  { made }: Namespaces,
  descriptor: Argument = { hole: "network" },
): Generator<Operation> {
  if (!made.has("network")) return;
  const [make, end] = ["make-network", "network"];
  yield {
    syscall: "setns",
    args: [descriptor, f.CLONE_NEWNET],
    why: "enter the network namespace that was made ahead",
    onError: { goto: make },
    onZero: { goto: end },
  };
  yield { syscall: "unshare", args: [f.CLONE_NEWNET], why: "make network namespace", label: make };
  yield* raiseLoopback();
  yield { syscall: "getpid", args: [], why: "go on", label: end };
}

/** Whether they take a launch in stages. */
export function needStages({ made, joined }: Namespaces): boolean {
  return joinedInStages.some((type) => joined.has(type)) || madeInStages.some((type) => made.has(type));
}

/**
 * Makes or joins the user namespace. What comes before it is done as the daemon's user, what comes behind it has rights in
 * the container alone.
 */
export function* takeUserNamespace({ made, joined }: Namespaces): Generator<Operation> {
  const path = joined.get("user");
  if (path !== undefined) yield* join("user", path);
  else if (made.has("user")) yield { syscall: "unshare", args: [f.CLONE_NEWUSER], why: "make user namespace" };
}

/**
 * Makes and joins all other namespaces, in a process that has begun in the daemon's. The cgroup namespace is made with the
 * others: the process is in its cgroup by now.
 */
export function* takeNamespaces(namespaces: Namespaces): Generator<Operation> {
  const { made } = namespaces;
  yield* joinNamespaces(namespaces);
  let flags = 0;
  for (const type of made) if (type !== "user" && type !== "network") flags |= cloneFlags[type];
  yield { syscall: "unshare", args: [flags], why: `make namespaces: ${[...made].join(", ")}` };
  yield* takeNetwork(namespaces, networkDescriptor);
  yield { syscall: "close", args: [networkDescriptor], why: "let go of the network namespace", onError: "ignore" };
}

/** Goes on as a process that is in all of its namespaces. */
export function* inhabitNamespaces({ made, joined }: Namespaces): Generator<Operation> {
  const inChild = (["pid", "time"] as const).filter((type) => made.has(type) || joined.has(type));
  if (inChild.length > 0) yield* goOnInChild(`enter the ${inChild.join(" and ")} namespace`);
}

/** Only a child of the process that makes or joins a pid or time namespace is in it. It is the daemon's child all the same. */
export function* goOnInChild(why: string): Generator<Operation> {
  const label = "in-child";
  yield { syscall: "clone", args: [f.CLONE_PARENT | f.SIGCHLD, 0, 0, 0, 0], why, onZero: { goto: label } };
  yield { syscall: "exit_group", args: [0], why: "leave all else to the child" };
  yield { syscall: "getpid", args: [], why: "go on", label };
}

/** Joins the namespaces that exist, but for the user namespace: with its mounts last, since all paths are others then. */
export function* joinNamespaces({ joined }: Namespaces): Generator<Operation> {
  for (const [type, path] of joined) if (type !== "user" && type !== "mount") yield* join(type, path);
  const mounts = joined.get("mount");
  if (mounts !== undefined) yield* join("mount", mounts);
}

function* join(type: NamespaceType, path: string): Generator<Operation> {
  const store = `ns:${type}`;
  yield {
    syscall: "openat",
    args: [f.AT_FDCWD, path, f.O_RDONLY | f.O_CLOEXEC, 0],
    store,
    why: `open ${type} namespace ${quote(path)}`,
  };
  yield { syscall: "setns", args: [{ ref: store }, cloneFlags[type]], why: `join ${type} namespace ${quote(path)}` };
  yield { syscall: "close", args: [{ ref: store }], why: `close ${type} namespace`, onError: "ignore" };
}

/** Makes the cgroup namespace, once the child is in its cgroup. */
export function* makeCgroupNamespace({ made }: Namespaces): Generator<Operation> {
  if (made.has("cgroup")) yield { syscall: "unshare", args: [f.CLONE_NEWCGROUP], why: "make cgroup namespace" };
}
