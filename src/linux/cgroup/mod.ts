export { type Cgroup, Cgroups } from "./cgroups.ts";
export { CgroupPool } from "./pool.ts";
export { delegatedLayout, detectLayout, type Hierarchy, type Layout } from "./layout.ts";
export type { CgroupStats } from "./stats.ts";
export { type OomState, OomWatch } from "./oom_watch.ts";
