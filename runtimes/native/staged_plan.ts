import type { Spec } from "../../src/core/spec.ts";
import * as f from "../../src/linux/flags.ts";
import { mountMappedRootfs } from "../../src/linux/mount/mapped_rootfs.ts";
import { isolateMounts, mountRootfs } from "../../src/linux/mount/rootfs.ts";
import type { Operation, Program } from "../../src/linux/program.ts";
import { mostDescriptors } from "../../src/linux/stages.ts";
import { init } from "../../src/linux/stub/layout.ts";
import { holdDevices } from "./devices.ts";
import { holdSources } from "./mounts.ts";
import { hasOwnUsers, inhabitNamespaces, takeNamespaces, takeUserNamespace } from "./namespaces.ts";
import { become, enterCgroups, furnish, mountRoot, type PlanOptions, setOomScore } from "./plan.ts";
import { raiseRlimits } from "./rlimits.ts";
import { giveStdio } from "./stdio.ts";
import { openTerminal } from "./terminal.ts";
import { becomeNamespaceRoot, hostId, type UserMaps } from "./user_namespace.ts";

/** Where the process finds the user namespace that its root's ids are mapped with. */
export const mappingDescriptor = mostDescriptors - 4;

/**
 * A launch in stages: the same steps as `plan`, in parts between which the daemon has something to do. The process begins in
 * the daemon's namespaces, with its descriptors in place and nothing of the daemon's memory.
 */
export interface StagedPlan {
  /** Takes the place that the daemon gives it, in its cgroups, and all that takes the daemon's rights. */
  readonly enter: Program;
  /** What the daemon writes then for the user namespace that has been made. */
  readonly maps: UserMaps | undefined;
  /** Makes and joins namespaces. */
  readonly isolate: Program;
  /** What the daemon writes then for the time namespace that has been made. */
  readonly timeOffsets: Spec["linux"]["timeOffsets"];
  /** Goes on as the process that is to be the container's. */
  readonly inhabit: Program;
  /** Mounts the root filesystem. */
  readonly mountRoot: Program;
  /** Everything else that is there before the container starts. */
  readonly furnish: Program;
  /** Becomes the container's process. */
  readonly start: Program;
}

/** Plans a launch in stages. @throws as `plan`. */
export function stagedPlan(spec: Spec, options: PlanOptions): StagedPlan {
  const { settings: { namespaces, identity, maps }, cgroups } = options;
  const ownUsers = hasOwnUsers(namespaces);
  const uid = maps === undefined ? identity.uid : hostId(maps.uids, identity.uid) ?? 0;
  return {
    enter: [
      ...hide(),
      ...giveStdio(options.stdio, uid),
      ...enterCgroups(cgroups),
      ...ownUsers ? holdHost(spec, options) : [],
      // Other mounts may have another /proc, or none.
      ...namespaces.joined.has("mount") ? setOomScore(spec.process.oomScoreAdj) : [],
      ...takeUserNamespace(namespaces),
    ],
    maps: namespaces.made.has("user") ? maps : undefined,
    isolate: [...ownUsers ? becomeNamespaceRoot() : [], ...takeNamespaces(namespaces)],
    timeOffsets: spec.linux.timeOffsets,
    inhabit: [
      ...inhabitNamespaces(namespaces),
      { syscall: "setsid", args: [], why: "leave the daemon's session" },
    ],
    mountRoot: [...ownUsers ? attachRoot() : mountRoot(spec, options)],
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

/**
 * What a process without the host's rights could not do: it mounts the root filesystem, and takes hold of that and of all
 * that will be mounted in it, in a mount namespace that it leaves again.
 */
function* holdHost(spec: Spec, { settings, rootfs, folder, cgroups, manner }: PlanOptions): Generator<Operation> {
  yield* setOomScore(spec.process.oomScoreAdj);
  yield* raiseRlimits(settings.rlimits);
  yield { syscall: "unshare", args: [f.CLONE_NEWNS], why: "make a mount namespace to prepare the root in" };
  yield { syscall: "umask", args: [0], why: "make files with exactly the modes that are asked for" };
  yield* isolateMounts();
  yield* holdSources(settings.mounts, cgroups);
  yield* holdDevices(spec);
  const { maps } = settings;
  if (manner?.mapsRoot === true && maps !== undefined) {
    const [uid, gid] = [hostId(maps.uids, 0) ?? 0, hostId(maps.gids, 0) ?? 0];
    yield* mountMappedRootfs(rootfs, folder, { userNamespace: mappingDescriptor, uid, gid });
  } else yield* mountRootfs(rootfs, folder);
  yield {
    syscall: "open_tree",
    args: [f.AT_FDCWD, ".", f.OPEN_TREE_CLONE | f.OPEN_TREE_CLOEXEC | f.AT_RECURSIVE],
    store: "rootfs",
    why: "take hold of the root filesystem",
  };
  yield { syscall: "chdir", args: ["/"], why: "go back to the host's root" };
  yield { syscall: "close", args: [mappingDescriptor], why: "let go of the mapping", onError: "ignore" };
}

/** Mounts the root filesystem that is held: on the root, since no other folder of the host need be open to this user. */
function* attachRoot(): Generator<Operation> {
  const rootfs = { ref: "rootfs" };
  yield* isolateMounts();
  yield {
    syscall: "move_mount",
    args: [rootfs, "", f.AT_FDCWD, "/", f.MOVE_MOUNT_F_EMPTY_PATH],
    why: "mount the root filesystem",
  };
  yield { syscall: "fchdir", args: [rootfs], why: "enter the root filesystem" };
  yield { syscall: "close", args: [rootfs], why: "let go of the root filesystem" };
}
