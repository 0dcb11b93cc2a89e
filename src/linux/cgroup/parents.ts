import { Failure } from "../../core/errors.ts";
import { errno } from "../errno.ts";
import { AT_FDCWD } from "../flags.ts";
import type { Kernel } from "../kernel.ts";
import { syscallFailure } from "../syscall_failure.ts";
import { realtimeFiles } from "./cpu_limits.ts";
import type { Hierarchy } from "./layout.ts";
import { listFolders, readText } from "./read.ts";
import { writeText } from "./write.ts";

/** Controllers of version 2 that are handed down, so that cgroups below can be limited. */
const handedDown = ["memory", "pids", "cpu", "cpuset", "io", "hugetlb", "rdma"];

/**
 * Makes the folders down to one in which cgroups are to be made, ready to have limits below it.
 * @throws failed_precondition where processes in a folder of version 2 keep it from handing its controllers down.
 */
export function makeParents(kernel: Kernel, hierarchy: Hierarchy, path: string): void {
  let folder = hierarchy.path;
  prepare(kernel, hierarchy, folder);
  for (const name of path.split("/").filter((part) => part !== "")) {
    const above = folder;
    folder += `/${name}`;
    const result = kernel.attempt("mkdirat", AT_FDCWD, folder, 0o755);
    if (result < 0 && result !== -errno.EEXIST) {
      throw syscallFailure(`cannot make cgroup ${JSON.stringify(folder)}`, "mkdirat", result);
    }
    if (hierarchy.version === 1 && hierarchy.controllers.includes("cpuset")) inheritCpuset(kernel, above, folder);
    prepare(kernel, hierarchy, folder);
  }
}

function prepare(kernel: Kernel, { version }: Hierarchy, folder: string): void {
  if (version === 1) return;
  const available = readText(kernel, `${folder}/cgroup.controllers`).trim().split(" ");
  const enabled = readText(kernel, `${folder}/cgroup.subtree_control`).trim().split(" ");
  const wanted = handedDown.filter((name) => available.includes(name) && !enabled.includes(name));
  if (wanted.length === 0) return;
  const result = writeText(kernel, `${folder}/cgroup.subtree_control`, wanted.map((name) => `+${name}`).join(" "));
  if (result === -errno.EBUSY) {
    throw new Failure(
      "failed_precondition",
      `cannot hand cgroup controllers down from ${JSON.stringify(folder)}: processes are in it: ` +
        "move them into a cgroup below it, or start the daemon with Delegate=yes and DelegateSubgroup=",
      { syscall: "write", errno: "EBUSY", details: { folder, controllers: wanted } },
    );
  }
  if (result < 0) {
    throw syscallFailure(`cannot hand cgroup controllers down from ${JSON.stringify(folder)}`, "write", result);
  }
}

/** No process can enter a cpuset of version 1 before it has processors and memory nodes. */
export function inheritCpuset(kernel: Kernel, from: string, to: string): void {
  for (const file of ["cpuset.cpus", "cpuset.mems"]) {
    if (readText(kernel, `${to}/${file}`).trim() !== "") continue;
    writeText(kernel, `${to}/${file}`, readText(kernel, `${from}/${file}`).trim());
  }
}

/**
 * Lets a cgroup of version 1 below a folder have time for real-time processes: each folder has to have what those below it
 * have together, which is nothing at first.
 */
export function allowRealtime(
  kernel: Kernel,
  { path: root }: Hierarchy,
  path: string,
  { runtime, period }: Realtime,
): void {
  let folder = root;
  for (const name of path.split("/").filter((part) => part !== "")) {
    folder += `/${name}`;
    const own = read(kernel, folder);
    let needed = runtime / period;
    for (const child of listFolders(kernel, folder)) {
      if (path.startsWith(`${folder.slice(root.length)}/${child}/`) || `${folder}/${child}` === `${root}${path}`) {
        continue;
      }
      const other = read(kernel, `${folder}/${child}`);
      needed += other.runtime / other.period;
    }
    // One that has just been removed still counts for a moment: there is room for as much again.
    const wanted = Math.ceil(2 * needed * own.period);
    if (own.runtime < wanted) writeText(kernel, `${folder}/${realtimeFiles.runtime}`, String(wanted));
  }
}

/** Microseconds, in each period. */
interface Realtime {
  readonly runtime: number;
  readonly period: number;
}

function read(kernel: Kernel, folder: string): Realtime {
  const number = (file: string) => Number(readText(kernel, `${folder}/${file}`));
  return { runtime: number(realtimeFiles.runtime), period: number(realtimeFiles.period) };
}
