import type { Rootfs } from "../../src/core/mount.ts";
import type { Spec } from "../../src/core/spec.ts";
import * as f from "../../src/linux/flags.ts";
import { isolateMounts, mountRootfs } from "../../src/linux/mount/rootfs.ts";
import type { Operation, Program } from "../../src/linux/program.ts";
import { executeStub, takeDescriptors } from "../../src/linux/stages.ts";
import { streamNames } from "../../src/linux/stdio_pipes.ts";
import { attachDevices, holdDevices, makeDevices } from "./devices.ts";
import { execute } from "./execute.ts";
import { setHostName } from "./host_name.ts";
import { assumeIdentity } from "./identity.ts";
import { maskPaths, protectPaths } from "./masked_paths.ts";
import { attachMounts, type CgroupView, holdSources, type SourceKinds } from "./mounts.ts";
import { hasOwnUsers, joinNamespaces, makeCgroupNamespace, takeNetwork } from "./namespaces.ts";
import { openLabel, setLabel } from "./labels.ts";
import { setPersonality, setScheduling } from "./scheduling.ts";
import { setRlimits } from "./rlimits.ts";
import { leaveRoot, moveRoot, pivotRoot, sealRootfs, turnRoot } from "./rootfs.ts";
import type { Rights } from "./rights.ts";
import type { Settings } from "./settings.ts";
import { arrangeStdio, giveStdio, type StdioKinds } from "./stdio.ts";
import { clean, openRoot } from "./steps.ts";
import { setSysctls } from "./sysctl.ts";

/** What a plan needs to know beside the spec. */
export interface PlanOptions {
  readonly settings: Settings;
  readonly rootfs: Rootfs;
  /** An empty folder on the host, for the root to be mounted on in the child's own mount namespace. */
  readonly folder: string;
  readonly stdio: StdioKinds;
  /** The hierarchies that the container has a cgroup in, and as what a mount of cgroups shows them. */
  readonly cgroups: readonly CgroupView[];
  readonly kinds: SourceKinds;
  /** What the daemon has itself. */
  readonly rights: Pick<Rights, "lastCapability" | "ids">;
  /** The execution domain. */
  readonly personality?: Spec["linux"]["personality"];
  /** The compiled filter, and the flags to load it with. */
  readonly seccomp: { readonly filter: Uint8Array; readonly flags: number } | undefined;
  readonly manner?: Manner;
}

/** How a launch differs from the daemon's own. */
export interface Manner {
  /** The process outlives the one that makes it. Default false. */
  readonly outlives?: boolean;
  /** Whether the root is left by pivot_root(2), which a root in the kernel's first filesystem cannot. Default true. */
  readonly pivot?: boolean;
  /** Whether the process gets a session keyring of its own. Default true. */
  readonly keyring?: boolean;
  /** Whether the root filesystem has the image's ids, to be mapped to the container's. Default false: it has the host's. */
  readonly mapsRoot?: boolean;
}

/**
 * Plans a launch: everything that the child does, from its first instruction in new namespaces to the execution of the
 * container's command. It reads and touches nothing. What differs between launches of the same kind is left as holes, for
 * `launchValues` to fill.
 *
 * The order is the kernel's more than ours: cgroups before their namespace, whose root is where the child is then; sources
 * before the host's filesystem is gone; sysctls before /proc/sys is read-only; what needs capabilities before they are
 * given up; the death signal after the change of user, which clears it; the filter last, since it may forbid all of this.
 *
 * @throws invalid_argument or resource_exhausted for a root filesystem that cannot be mounted.
 */
export function plan(spec: Spec, options: PlanOptions): Program {
  return [...steps(spec, options)];
}

function* steps(spec: Spec, options: PlanOptions): Generator<Operation> {
  const { namespaces, identity } = options.settings;
  yield* takeNetwork(namespaces);
  yield* arrangeStdio(options.stdio, identity.uid);
  yield* settle(spec, options);
  yield* become(spec, options);
}

/**
 * Plans a launch that stops before it becomes the container's process: it executes the init stub there, which waits for the
 * rest. The holes are those of `plan` and of the stub.
 */
export function parkedPlan(spec: Spec, options: PlanOptions): Program {
  const { namespaces, identity } = options.settings;
  const { stdio } = options;
  const sources = streamNames.map((name, index) => [index, stdio[name] === "null" ? null : { hole: name }] as const);
  return [
    ...takeNetwork(namespaces),
    ...takeDescriptors(new Map(sources)),
    ...giveStdio(stdio, identity.uid),
    ...settle(spec, options),
    ...executeStub(),
  ];
}

/** Everything between a process's descriptors and its becoming the container's. */
function* settle(spec: Spec, options: PlanOptions): Generator<Operation> {
  const { namespaces } = options.settings;
  yield { syscall: "setsid", args: [], why: "leave the daemon's session" };
  yield* enterCgroups(options.cgroups);
  yield* joinNamespaces(namespaces);
  yield* makeCgroupNamespace(namespaces);
  yield* mountRoot(spec, options);
  yield* furnish(spec, options);
}

/** Mounts the root filesystem, in the container's mount namespace, and makes it the working directory. */
export function* mountRoot(
  spec: Spec,
  { settings, rootfs, folder, cgroups, rights }: PlanOptions,
): Generator<Operation> {
  yield { syscall: "umask", args: [0], why: "make files with exactly the modes that are asked for" };
  yield* isolateMounts();
  yield* holdSources(settings.mounts, cgroups);
  if (!rights.ids.all) yield* holdDevices(spec);
  yield* mountRootfs(rootfs, folder, { user: !rights.ids.all });
}

/** Makes the working directory the root, and everything in it as the spec has it. */
export function* furnish(spec: Spec, { settings, cgroups, kinds, manner, rights }: PlanOptions): Generator<Operation> {
  const { process, linux } = spec;
  const made = new Set<string>(["/"]);
  const ownUsers = hasOwnUsers(settings.namespaces);
  // Be it the container's or the daemon's.
  const inUserNamespace = ownUsers || !rights.ids.all;
  // Through the host's /proc: what is at its place in the container is the image's and the user's affair.
  yield* setSysctls(spec);
  if (!ownUsers && !settings.namespaces.joined.has("mount")) yield* setOomScore(process.oomScoreAdj);
  // The kernel lets a user namespace mount a /proc only while another one is to be seen.
  yield* manner?.pivot === false ? moveRoot() : inUserNamespace ? turnRoot() : pivotRoot();
  yield* openRoot();
  yield* attachMounts(
    settings.mounts,
    { cgroups, kinds, made },
    () => inUserNamespace ? attachDevices(spec, made) : makeDevices(spec, made),
  );
  if (inUserNamespace && manner?.pivot !== false) yield* leaveRoot();
  yield* setHostName(spec);
  yield* maskPaths(linux.maskedPaths ?? []);
  yield* protectPaths(linux.readonlyPaths ?? []);
  yield* sealRootfs(spec, clean(process.cwd), made);
}

/** What a process is made of: the container's own, or one more in it. */
export type BecomeOptions = Pick<PlanOptions, "rights" | "seccomp" | "personality" | "manner"> & {
  readonly settings: Pick<Settings, "identity" | "rlimits">;
};

/** Becomes the user's process and executes its command. */
export function* become(spec: Pick<Spec, "process">, options: BecomeOptions): Generator<Operation> {
  yield* assume(spec, options);
  yield* execute(spec.process, () => loadFilterLate(spec, options));
}

/**
 * The same in two parts: what can be done before anybody wants the command, and the execution. The filter belongs to the
 * first one where it lets the init stub, and the search for the command, go on behind it: `filterPasses`.
 */
export function becomeInParts(
  spec: Pick<Spec, "process">,
  options: BecomeOptions,
  filterPasses: boolean,
): { readonly assume: Program; readonly execute: Program } {
  const filter = [...loadFilterLate(spec, options)];
  return {
    assume: [...assume(spec, options), ...filterPasses ? filter : []],
    execute: [...execute(spec.process, () => filterPasses ? [] : filter)],
  };
}

/** Becomes the user's process, but for what comes directly before the execution of its command. */
function* assume(
  { process }: Pick<Spec, "process">,
  { settings: { identity, rlimits }, rights, seccomp, personality, manner = {} }: BecomeOptions,
): Generator<Operation> {
  const cwd = clean(process.cwd);
  if (manner.keyring !== false) {
    yield {
      syscall: "keyctl",
      args: [joinSessionKeyring, 0],
      why: "leave the daemon's keyring",
      onError: "ignore",
    };
  }
  yield* openLabel(process);
  yield* setPersonality(personality);
  yield* setRlimits(rlimits);
  yield* setScheduling(process);
  if (process.noNewPrivileges === true) {
    yield { syscall: "prctl", args: [f.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0], why: "set no_new_privs" };
  }
  // Without no_new_privs a filter takes CAP_SYS_ADMIN, which is about to go. It may know nothing of openat2(2).
  const early = process.noNewPrivileges !== true;
  if (early) {
    yield openFolder(cwd);
    yield* loadFilter(seccomp);
  }
  yield* assumeIdentity(identity, { lastCapability: rights.lastCapability, setsGroups: rights.ids.setsGroups });
  if (!early) yield openFolder(cwd);
  yield* enterFolder(cwd);
  if (manner.outlives !== true) {
    yield { syscall: "prctl", args: [f.PR_SET_PDEATHSIG, f.SIGKILL, 0, 0, 0], why: "die when the daemon dies" };
  }
  yield* setLabel(process);
}

/** With no_new_privs a filter takes no capability: it is loaded last. */
function* loadFilterLate({ process }: Pick<Spec, "process">, { seccomp }: BecomeOptions): Generator<Operation> {
  if (process.noNewPrivileges === true) yield* loadFilter(seccomp);
}

const folderWhy = (path: string) => `enter the working folder ${JSON.stringify(path)}`;

/** No link of /proc is followed: it could lead to a folder that somebody has open outside of the container. */
function openFolder(path: string): Operation {
  const how = [f.O_PATH | f.O_DIRECTORY | f.O_CLOEXEC, 0, f.RESOLVE_NO_MAGICLINKS];
  return {
    syscall: "openat2",
    args: [f.AT_FDCWD, path, how, how.length * 8],
    store: "folder",
    why: folderWhy(path),
  };
}

/** Whether its user may enter it is seen here, whoever has opened it. */
function* enterFolder(path: string): Generator<Operation> {
  const why = folderWhy(path);
  yield { syscall: "fchdir", args: [{ ref: "folder" }], why };
  yield { syscall: "close", args: [{ ref: "folder" }], why };
}

/** `KEYCTL_JOIN_SESSION_KEYRING`; without a name it is a new one. */
const joinSessionKeyring = 1;

const self = new TextEncoder().encode("0");

/** The hole `procs:<name>` is the file of each cgroup that a process writes itself into. */
export function* enterCgroups(cgroups: readonly CgroupView[]): Generator<Operation> {
  for (const { name } of cgroups) {
    const why = `enter cgroup ${JSON.stringify(name)}`;
    const file = { hole: `procs:${name}` };
    yield { syscall: "openat", args: [f.AT_FDCWD, file, f.O_WRONLY | f.O_CLOEXEC, 0], store: file.hole, why };
    yield { syscall: "write", args: [{ ref: file.hole }, self, 1], why };
    yield { syscall: "close", args: [{ ref: file.hole }], why, onError: "ignore" };
  }
}

export function* setOomScore(score: number | null | undefined): Generator<Operation> {
  if (score === undefined || score === null) return;
  const why = `set oom_score_adj to ${score}`;
  const text = new TextEncoder().encode(String(score));
  const path = "/proc/self/oom_score_adj";
  yield { syscall: "openat", args: [f.AT_FDCWD, path, f.O_WRONLY | f.O_CLOEXEC, 0], store: "oom", why };
  yield { syscall: "write", args: [{ ref: "oom" }, text, text.length], why };
  yield { syscall: "close", args: [{ ref: "oom" }], why, onError: "ignore" };
}

function* loadFilter(seccomp: PlanOptions["seccomp"]): Generator<Operation> {
  if (seccomp === undefined) return;
  const { filter, flags } = seccomp;
  yield {
    syscall: "seccomp",
    args: [f.SECCOMP_SET_MODE_FILTER, flags, [filter.length / 8, {
      out: "filter",
      size: filter.length,
      initial: filter,
    }]],
    why: "load the seccomp filter",
  };
}
