import { errno } from "../errno.ts";
import { AT_FDCWD, W_OK } from "../flags.ts";
import type { Kernel } from "../kernel.ts";
import { syscallFailure } from "../syscall_failure.ts";
import { readText } from "./read.ts";
import { writeText } from "./write.ts";

/** Where a process goes that has cgroups below its own, since the kernel wants processes in leaves alone. */
const leaf = "/mayfly-self";

/** What root has to let a user write, that the user may have cgroups below. */
const files = ["", "/cgroup.procs", "/cgroup.subtree_control"];

/**
 * Finds the cgroup of version 2 that has been given to this process, and to no other, as `Delegate=yes` does it.
 * @param mounted where version 2 is mounted, as a whole.
 * @returns its folder; undefined where it is not this user's to change, or others are in it.
 * @see https://docs.kernel.org/admin-guide/cgroup-v2.html#delegation
 */
export function delegatedFolder(kernel: Kernel, mounted: string): string | undefined {
  const own = /^0::(\/.*)$/m.exec(readText(kernel, "/proc/self/cgroup"))?.[1] ?? "/";
  const path = own.endsWith(leaf) ? own.slice(0, -leaf.length) : own;
  // The root is everybody's.
  if (path === "/" || path === "" || path.includes("/..")) return undefined;
  const folder = mounted + path;
  if (files.some((name) => kernel.attempt("faccessat", AT_FDCWD, folder + name, W_OK) !== 0)) return undefined;
  const pids = readText(kernel, `${folder}/cgroup.procs`).split("\n").filter((line) => line !== "");
  return pids.every((pid) => Number(pid) === kernel.host.pid) ? folder : undefined;
}

/** Makes room for cgroups in the one that has been given to this process: it goes into one below. */
export function enterLeaf(kernel: Kernel, folder: string): void {
  const made = kernel.attempt("mkdirat", AT_FDCWD, folder + leaf, 0o755);
  if (made < 0 && made !== -errno.EEXIST) {
    throw syscallFailure(`cannot make cgroup ${JSON.stringify(folder + leaf)}`, "mkdirat", made);
  }
  const entered = writeText(kernel, `${folder}${leaf}/cgroup.procs`, "0");
  if (entered < 0) throw syscallFailure(`cannot enter cgroup ${JSON.stringify(folder + leaf)}`, "write", entered);
}
