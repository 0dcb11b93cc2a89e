import type { Spec } from "../../src/core/spec.ts";
import { MS_RDONLY } from "../../src/linux/flags.ts";
import { capability, has } from "./capabilities.ts";
import type { ContainerMount } from "./mounts.ts";
import type { Settings } from "./settings.ts";

/**
 * Whether a container's cgroup is at its end as it was at the start, for the next one with the same limits: no process is
 * left in it, and no way led to changing it. Whatever could have changed its limits, or made others below it, speaks against.
 */
export function leavesCgroupAlone(spec: Spec, { namespaces, identity, mounts }: Settings): boolean {
  const administers = has(identity.bounding | identity.permitted, capability("CAP_SYS_ADMIN"));
  // Without a filter, a user namespace gives the right to mount it anew.
  const filtered = spec.linux.seccomp !== undefined && spec.linux.seccomp !== null;
  return namespaces.made.has("pid") && namespaces.made.has("cgroup") && filtered && !administers &&
    !spec.linux.cgroupsPath &&
    mounts.every(isHarmless);
}

function isHarmless({ type, source, options }: ContainerMount): boolean {
  if (type === "cgroup" || type === "cgroup2") return (options.flags & MS_RDONLY) !== 0;
  return type !== "bind" || !(source === "/" || `${source}/`.startsWith("/sys/"));
}
