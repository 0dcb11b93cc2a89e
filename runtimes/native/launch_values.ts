import type { Spec, SpecProcess } from "../../src/core/spec.ts";
import type { Cgroup, Hierarchy } from "../../src/linux/cgroup/mod.ts";
import type { Argument } from "../../src/linux/program.ts";
import type { CgroupView } from "./mounts.ts";
import { type StdioEnds, streamNames } from "../../src/linux/stdio_pipes.ts";

const encoder = new TextEncoder();

/** What fills the holes of a plan for one launch. */
export function launchValues(spec: Spec, stdio: StdioEnds, cgroup: Cgroup): Record<string, Argument> {
  const values = processValues(spec.process, cgroup);
  for (const name of streamNames) {
    const fd = stdio[name];
    if (fd !== undefined) values[name] = fd;
  }
  if (spec.hostname) {
    const bytes = encoder.encode(spec.hostname);
    values["hostname"] = bytes;
    values["hostname.length"] = bytes.length;
  }
  const hasMount = (spec.mounts ?? []).some(({ type }) => type === "cgroup");
  for (const { name, version } of cgroupViews([...cgroup.folders.keys()])) {
    if (hasMount && version === 1) values[`cgroup:${name}`] = folderOf(cgroup, name);
  }
  return values;
}

/** What fills the holes of a plan that any process has: its command, and the cgroups that it enters. */
export function processValues({ args, env = [] }: SpecProcess, cgroup: Cgroup): Record<string, Argument> {
  const values: Record<string, Argument> = { argv: [...args, 0], envp: [...env, 0] };
  for (const { name, version } of cgroupViews([...cgroup.folders.keys()])) {
    // Version 1 has a file for one thread too: writing that takes no lock over all of the machine's threads, whose first
    // taker waits for a grace period of RCU, and the child is one thread.
    values[`procs:${name}`] = `${folderOf(cgroup, name)}/${version === 1 ? "tasks" : "cgroup.procs"}`;
  }
  return values;
}

/** The folder of a container's cgroup in the hierarchy of this name; of any where it is empty. */
export function folderOf(cgroup: Cgroup, name: string): string {
  for (const [hierarchy, folder] of cgroup.folders) if (name === "" || hierarchy.name === name) return folder;
  return "";
}

/** How hierarchies are shown in a container: as folders, or as the place itself where version 2 is alone. */
export function cgroupViews(hierarchies: readonly Hierarchy[]): readonly CgroupView[] {
  const [first] = hierarchies;
  if (hierarchies.length === 1 && first?.version === 2) return [{ name: "", version: 2 }];
  return hierarchies.map(({ name, version }) => ({ name, version }));
}
