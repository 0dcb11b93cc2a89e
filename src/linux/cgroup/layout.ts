import { Failure } from "../../core/errors.ts";
import type { Kernel } from "../kernel.ts";
import { ownIds } from "../own_ids.ts";
import { delegatedFolder } from "./delegated.ts";
import { readText } from "./read.ts";

/** One mounted cgroup hierarchy. */
export interface Hierarchy {
  readonly version: 1 | 2;
  /** Where it is mounted; of one that is delegated, the folder that is ours. */
  readonly path: string;
  /** Its folder's name, as it is to be shown to containers: `memory`, `cpu,cpuacct`, `unified`. */
  readonly name: string;
  /** What it controls. */
  readonly controllers: readonly string[];
}

/**
 * The cgroup hierarchies of this machine. There may be version 2 alone (*unified*), version 1 alone, with a hierarchy for
 * each controller (*legacy*), or both, with some controllers in either (*hybrid*).
 * @see https://man7.org/linux/man-pages/man7/cgroups.7.html
 */
export interface Layout {
  readonly hierarchies: readonly Hierarchy[];
  /** Whether they are what an ordinary user may have, which may be none. */
  readonly delegated?: boolean;
  /** The hierarchy that has a controller. */
  find(controller: string): Hierarchy | undefined;
}

/**
 * Finds out which hierarchies are mounted, or for an ordinary user, which are delegated.
 * @throws failed_precondition when there are none.
 */
export function detectLayout(kernel: Kernel): Layout {
  if (!ownIds(kernel).all) return delegatedLayout(kernel);
  const layout = mountedLayout(kernel);
  if (layout.hierarchies.length === 0) {
    throw new Failure(
      "failed_precondition",
      "cannot use cgroups: none are mounted: mount -t cgroup2 none /sys/fs/cgroup",
    );
  }
  return layout;
}

/** What an ordinary user has: the part of version 2 that root has delegated to this process, or nothing. */
export function delegatedLayout(kernel: Kernel): Layout {
  const mounted = mountedLayout(kernel).hierarchies.filter(({ version }) => version === 2);
  const hierarchies = mounted.flatMap((hierarchy) => {
    const path = delegatedFolder(kernel, hierarchy.path);
    return path === undefined ? [] : [{ ...hierarchy, path, controllers: controllersOf(kernel, path) }];
  });
  return { ...layoutOf(hierarchies), delegated: true };
}

function mountedLayout(kernel: Kernel): Layout {
  return parseLayout(readText(kernel, "/proc/self/mountinfo"), (path) => controllersOf(kernel, path));
}

function controllersOf(kernel: Kernel, path: string): readonly string[] {
  return readText(kernel, `${path}/cgroup.controllers`).trim().split(/\s+/).filter((name) => name !== "");
}

/**
 * Reads a layout out of `/proc/self/mountinfo`.
 * @param controllersOf reads `cgroup.controllers` of a version 2 hierarchy.
 */
export function parseLayout(mountinfo: string, controllersOf: (path: string) => readonly string[]): Layout {
  const hierarchies: Hierarchy[] = [];
  const devices = new Set<string>();
  for (const line of mountinfo.split("\n")) {
    const [before = "", after = ""] = line.split(" - ");
    const [, , device = "", , mountPoint = ""] = before.split(" ");
    const path = unescape(mountPoint);
    const [type, , options = ""] = after.split(" ");
    // A hierarchy may be mounted in several places, and several may lie on one another at one.
    if (devices.has(device) || hierarchies.some((known) => known.path === path)) continue;
    devices.add(device);
    const name = path.slice(path.lastIndexOf("/") + 1);
    if (type === "cgroup2") hierarchies.push({ version: 2, path, name, controllers: controllersOf(path) });
    if (type === "cgroup") {
      const controllers = options.split(",").filter((option) => known.has(option));
      if (controllers.length > 0) hierarchies.push({ version: 1, path, name, controllers });
    }
  }
  return layoutOf(hierarchies);
}

function layoutOf(hierarchies: readonly Hierarchy[]): Layout {
  return {
    hierarchies,
    find: (controller) => hierarchies.find(({ controllers }) => controllers.includes(controller)),
  };
}

const known: ReadonlySet<string> = new Set([
  "blkio",
  "cpu",
  "cpuacct",
  "cpuset",
  "devices",
  "freezer",
  "hugetlb",
  "memory",
  "net_cls",
  "net_prio",
  "perf_event",
  "pids",
  "rdma",
  "misc",
]);

/** mountinfo writes space, tab, newline and backslash as octal escapes. */
function unescape(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(parseInt(digits, 8)));
}
