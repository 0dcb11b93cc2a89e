import { Failure } from "../../core/errors.ts";
import type { SpecResources } from "../../core/spec.ts";
import { errno } from "../errno.ts";
import type { Cgroup } from "./cgroup.ts";
import type { Hierarchy, Layout } from "./layout.ts";
import { type Limit, limitFailure } from "./limit.ts";
import { limitsOf } from "./limits.ts";

/**
 * Changes the limits of a cgroup that is in use.
 * @param enter brings it into the hierarchies of these limits.
 * @throws as `limitsOf`; invalid_argument for a value that the kernel refuses. What was changed before is undone.
 */
export function update(
  resources: SpecResources,
  layout: Layout,
  cgroup: Cgroup,
  enter: (limits: readonly Limit[]) => void,
): void {
  checkUsage(resources, cgroup);
  const limits = inOrder(limitsOf(withCurrent(resources, layout, cgroup), layout), cgroup);
  enter(limits);
  const done: { readonly limit: Limit; readonly before: string | undefined }[] = [];
  for (const wanted of limits) {
    const { hierarchy, instead, optional } = wanted;
    const limit = instead !== undefined && !cgroup.has(hierarchy, wanted.file) ? { ...wanted, ...instead } : wanted;
    const before = current(cgroup, hierarchy, limit.file);
    const result = cgroup.write(hierarchy, limit.file, limit.value);
    if (result >= 0) done.push({ limit, before });
    else if (optional !== true || result !== -errno.ENOENT) {
      for (const { limit: { hierarchy, file }, before } of done.toReversed()) {
        if (before !== undefined) cgroup.write(hierarchy, file, before);
      }
      throw limitFailure(limit, result);
    }
  }
}

/** Version 2 takes a limit below what is in use, and kills for it. @throws failed_precondition where the caller minds. */
function checkUsage({ memory }: SpecResources, cgroup: Cgroup): void {
  const limit = memory?.limit ?? -1;
  if (memory?.checkBeforeUpdate !== true || limit <= 0) return;
  const { memoryBytes = 0 } = cgroup.stats();
  if (memoryBytes <= limit) return;
  throw new Failure(
    "failed_precondition",
    `cannot set linux.resources.memory.limit to ${limit}: ${memoryBytes} bytes are in use`,
    { details: { field: "linux.resources.memory.limit", memoryBytes } },
  );
}

/** What a file says, where it takes what it says; undefined for tables and missing files. */
function current(cgroup: Cgroup, hierarchy: Hierarchy, file: string): string | undefined {
  try {
    const text = cgroup.read(hierarchy, file).trim();
    return text.includes("\n") ? undefined : text;
  } catch {
    return undefined;
  }
}

/** Adds what version 2 keeps in one file, or counts together, and an update need not name. */
function withCurrent(resources: SpecResources, layout: Layout, cgroup: Cgroup): SpecResources {
  let { memory, cpu } = resources;
  const memory2 = layout.find("memory");
  if (memory2?.version === 2 && memory?.swap !== undefined && memory.swap !== -1 && memory.limit === undefined) {
    const limit = Number(current(cgroup, memory2, "memory.max"));
    memory = { ...memory, limit: Number.isNaN(limit) ? -1 : limit };
  }
  const cpu2 = layout.find("cpu");
  if (cpu2?.version === 2 && cpu && (cpu.quota === undefined) !== (cpu.period === undefined)) {
    const [quota, period] = (current(cgroup, cpu2, "cpu.max") ?? "").split(" ");
    cpu = {
      ...cpu,
      quota: cpu.quota ?? (quota === "max" ? -1 : Number(quota)),
      period: cpu.period ?? Number(period),
    };
  }
  return { ...resources, memory, cpu };
}

/** Version 1 never takes a limit of memory above that of memory and swap: when both grow, the latter goes first. */
function inOrder(limits: readonly Limit[], cgroup: Cgroup): readonly Limit[] {
  const at = limits.findIndex(({ file }) => file === "memory.limit_in_bytes");
  const [limit, swap] = [limits[at], limits[at + 1]];
  if (limit === undefined || swap?.file !== "memory.memsw.limit_in_bytes") return limits;
  const both = Number(current(cgroup, swap.hierarchy, swap.file) ?? 0);
  const grows = limit.value === "-1" || Number(limit.value) > both;
  return grows ? limits.with(at, swap).with(at + 1, limit) : limits;
}
