import { Failure } from "../../core/errors.ts";
import type { SpecResources } from "../../core/spec.ts";
import { errno } from "../errno.ts";
import { syscallFailure } from "../syscall_failure.ts";
import { deviceRules } from "./devices.ts";
import type { Hierarchy, Layout } from "./layout.ts";

/** One value to be written into one file of a cgroup. */
export interface Limit {
  readonly hierarchy: Hierarchy;
  readonly file: string;
  readonly value: string;
  /** The part of the spec that asks for it. */
  readonly field: string;
  /** Where the machine lacks the file, nothing is lost. */
  readonly optional?: boolean;
}

/** What a limit does, as messages say it. */
export function describe({ field, value }: Limit): string {
  return `set linux.resources.${field} to ${JSON.stringify(value)}`;
}

/** What the kernel says of numbers that are out of range, or that no device has. */
const callersFault: ReadonlySet<number> = new Set([errno.ERANGE, errno.ENODEV, errno.EOVERFLOW]);

/** Why the kernel did not take a limit. @param result the negative errno. */
export function limitFailure(limit: Limit, result: number): Failure {
  const failure = syscallFailure(`cannot ${describe(limit)}`, "write", result);
  const code = callersFault.has(-result) ? "invalid_argument" : failure.code;
  return new Failure(code, failure.message, {
    syscall: "write",
    ...(failure.errno === undefined ? {} : { errno: failure.errno }),
    details: { field: `linux.resources.${limit.field}` },
  });
}

/**
 * Turns `linux.resources` into what is to be written, in order.
 *
 * @throws failed_precondition where a limit is asked for and the machine has no controller for it; unimplemented for a
 * limit that its cgroup version does not have.
 * @see https://github.com/opencontainers/runtime-spec/blob/v1.2.0/config-linux.md#control-groups
 */
export function limitsOf(resources: SpecResources, layout: Layout): readonly Limit[] {
  return [
    ...memoryLimits(resources, layout),
    ...cpuLimits(resources, layout),
    ...cpusetLimits(resources, layout),
    ...pidsLimits(resources, layout),
    ...ioLimits(resources, layout),
    ...deviceLimits(resources, layout),
    ...unifiedLimits(resources, layout),
  ];
}

function need(layout: Layout, controller: string, field: string): Hierarchy {
  const hierarchy = layout.find(controller);
  if (hierarchy !== undefined) return hierarchy;
  throw new Failure(
    "failed_precondition",
    `cannot set linux.resources.${field}: no cgroup hierarchy of this machine has the ${controller} controller`,
    { details: { field: `linux.resources.${field}`, controller } },
  );
}

function isSet(value: number | null | undefined): value is number {
  return value !== undefined && value !== null;
}

function* memoryLimits({ memory }: SpecResources, layout: Layout): Generator<Limit> {
  if (!memory) return;
  const { limit, swap, reservation, swappiness } = memory;
  if (limit !== undefined) {
    const hierarchy = need(layout, "memory", "memory.limit");
    const field = "memory.limit";
    const v1 = { hierarchy, file: "memory.limit_in_bytes", value: String(limit), field };
    yield hierarchy.version === 1 ? v1 : { hierarchy, file: "memory.max", value: orMax(limit), field };
  }
  if (swap !== undefined) {
    const field = "memory.swap";
    const hierarchy = need(layout, "memory", field);
    // The kernel may not account for swap. Where none is asked for beyond the memory, that is no loss.
    const optional = swap === -1 || swap === limit;
    if (hierarchy.version === 1) {
      yield { hierarchy, file: "memory.memsw.limit_in_bytes", value: String(swap), field, optional };
    } else {
      if (swap !== -1 && (limit === undefined || limit < 0 || swap < limit)) {
        throw new Failure("invalid_argument", `cannot set memory.swap to ${swap}: it counts memory and swap together`, {
          details: { field: "linux.resources.memory.swap" },
        });
      }
      const value = swap === -1 ? "max" : String(swap - (limit ?? 0));
      yield { hierarchy, file: "memory.swap.max", value, field, optional };
    }
  }
  if (reservation !== undefined) {
    const field = "memory.reservation";
    const hierarchy = need(layout, "memory", field);
    const v1 = { hierarchy, file: "memory.soft_limit_in_bytes", value: String(reservation), field };
    yield hierarchy.version === 1 ? v1 : { hierarchy, file: "memory.low", value: orMax(reservation), field };
  }
  if (isSet(swappiness)) {
    const field = "memory.swappiness";
    yield { hierarchy: only1(need(layout, "memory", field), field), file: field, value: String(swappiness), field };
  }
}

function* cpuLimits({ cpu }: SpecResources, layout: Layout): Generator<Limit> {
  if (!cpu) return;
  const { shares, quota, period, idle } = cpu;
  if (isSet(shares) && shares > 0) {
    const field = "cpu.shares";
    const hierarchy = need(layout, "cpu", field);
    yield hierarchy.version === 1
      ? { hierarchy, file: "cpu.shares", value: String(shares), field }
      : { hierarchy, file: "cpu.weight", value: String(weightOfShares(shares)), field };
  }
  if (isSet(quota) || isSet(period)) {
    const field = "cpu.quota";
    const hierarchy = need(layout, "cpu", field);
    const limited = isSet(quota) && quota > 0;
    if (hierarchy.version === 2) {
      const value = `${limited ? quota : "max"} ${isSet(period) && period > 0 ? period : 100_000}`;
      yield { hierarchy, file: "cpu.max", value, field };
    } else {
      if (isSet(period) && period > 0) yield { hierarchy, file: "cpu.cfs_period_us", value: String(period), field };
      if (isSet(quota) && quota !== 0) yield { hierarchy, file: "cpu.cfs_quota_us", value: String(quota), field };
    }
  }
  if (isSet(idle)) {
    yield { hierarchy: need(layout, "cpu", "cpu.idle"), file: "cpu.idle", value: String(idle), field: "cpu.idle" };
  }
}

/** The weight on version 2's scale of 1 to 10000 for shares on version 1's of 2 to 262144. */
export function weightOfShares(shares: number): number {
  return Math.max(1, Math.min(10_000, 1 + Math.floor(((Math.max(shares, 2) - 2) * 9999) / 262_142)));
}

function* cpusetLimits({ cpu }: SpecResources, layout: Layout): Generator<Limit> {
  for (const part of ["cpus", "mems"] as const) {
    const value = cpu?.[part];
    if (value === undefined || value === "") continue;
    const field = `cpu.${part}`;
    yield { hierarchy: need(layout, "cpuset", field), file: `cpuset.${part}`, value, field };
  }
}

function* pidsLimits({ pids }: SpecResources, layout: Layout): Generator<Limit> {
  if (!pids) return;
  const field = "pids.limit";
  // Zero and below mean no limit, as everywhere.
  const value = pids.limit > 0 ? String(pids.limit) : "max";
  if (value === "max" && layout.find("pids") === undefined) return;
  yield { hierarchy: need(layout, "pids", field), file: "pids.max", value, field };
}

function* ioLimits({ blockIO }: SpecResources, layout: Layout): Generator<Limit> {
  if (!blockIO || !isSet(blockIO.weight) || blockIO.weight === 0) return;
  const field = "blockIO.weight";
  const hierarchy = layout.find("blkio") ?? need(layout, "io", field);
  yield hierarchy.version === 1
    ? { hierarchy, file: "blkio.bfq.weight", value: String(blockIO.weight), field }
    : { hierarchy, file: "io.bfq.weight", value: `default ${blockIO.weight}`, field };
}

/** Version 2 has no file for devices: a program decides, see `device_filter.ts`. */
function* deviceLimits({ devices }: SpecResources, layout: Layout): Generator<Limit> {
  const hierarchy = layout.find("devices");
  if (hierarchy === undefined) return;
  for (const { allow, text } of deviceRules(devices ?? [])) {
    yield { hierarchy, file: allow ? "devices.allow" : "devices.deny", value: text, field: "devices" };
  }
}

function* unifiedLimits({ unified }: SpecResources, layout: Layout): Generator<Limit> {
  for (const [file, value] of Object.entries(unified ?? {})) {
    const controller = file.slice(0, file.indexOf("."));
    const hierarchy = need(layout, controller, "unified");
    if (hierarchy.version === 1 || !/^[a-z]+(?:\.[\w]+)+$/.test(file)) {
      throw new Failure(
        "unimplemented",
        `cannot set linux.resources.unified: ${JSON.stringify(file)} is no file of cgroup v2 here`,
        {
          details: { field: "linux.resources.unified", file },
        },
      );
    }
    yield { hierarchy, file, value, field: `unified["${file}"]` };
  }
}

function only1(hierarchy: Hierarchy, field: string): Hierarchy {
  if (hierarchy.version === 1) return hierarchy;
  throw new Failure("unimplemented", `cannot set linux.resources.${field}: cgroup v2 has no such limit`, {
    details: { field: `linux.resources.${field}` },
  });
}

function orMax(value: number): string {
  return value === -1 ? "max" : String(value);
}
