import type { SpecResources } from "../../core/spec.ts";
import type { Layout } from "./layout.ts";
import { digits, isSet, type Limit, need, only1 } from "./limit.ts";

/** What a quota is of where no period is named, in microseconds. */
const defaultPeriod = 100_000;

/**
 * Periods come before what is counted in them, and a quota before what may be saved up beyond it.
 * @see https://github.com/opencontainers/runtime-spec/blob/v1.2.0/config-linux.md#cpu
 */
export function* cpuLimits({ cpu }: SpecResources, layout: Layout): Generator<Limit> {
  if (!cpu) return;
  const { shares, quota, period, burst, idle, realtimePeriod, realtimeRuntime } = cpu;
  const v1 = (field: string, file: string, value: string): Limit => ({
    hierarchy: only1(need(layout, "cpu", field), field),
    file,
    value,
    field,
  });
  if (isSet(shares) && shares > 0) {
    const field = "cpu.shares";
    const hierarchy = need(layout, "cpu", field);
    yield hierarchy.version === 1
      ? { hierarchy, file: "cpu.shares", value: digits(shares), field }
      : { hierarchy, file: "cpu.weight", value: String(weightOfShares(shares)), field };
  }
  const hasPeriod = isSet(period) && period > 0;
  const hasQuota = isSet(quota) && quota !== 0;
  if (hasQuota || hasPeriod) {
    const field = hasQuota ? "cpu.quota" : "cpu.period";
    const hierarchy = need(layout, "cpu", field);
    if (hierarchy.version === 2) {
      const max = hasQuota && quota > 0 ? digits(quota) : "max";
      yield { hierarchy, file: "cpu.max", value: `${max} ${hasPeriod ? digits(period) : defaultPeriod}`, field };
    } else {
      if (hasPeriod) yield { hierarchy, file: "cpu.cfs_period_us", value: digits(period), field: "cpu.period" };
      if (hasQuota) yield { hierarchy, file: "cpu.cfs_quota_us", value: digits(quota), field };
    }
  }
  if (isSet(burst)) {
    const field = "cpu.burst";
    const hierarchy = need(layout, "cpu", field);
    const file = hierarchy.version === 1 ? "cpu.cfs_burst_us" : "cpu.max.burst";
    yield { hierarchy, file, value: digits(burst), field };
  }
  if (isSet(realtimePeriod) && realtimePeriod > 0) {
    yield v1("cpu.realtimePeriod", realtimeFiles.period, digits(realtimePeriod));
  }
  if (isSet(realtimeRuntime) && realtimeRuntime !== 0) {
    yield v1("cpu.realtimeRuntime", realtimeFiles.runtime, digits(realtimeRuntime));
  }
  if (isSet(idle)) {
    const field = "cpu.idle";
    yield { hierarchy: need(layout, "cpu", field), file: "cpu.idle", value: digits(idle), field };
  }
}

/** Where version 1 keeps the time that real-time processes may take. */
export const realtimeFiles = { runtime: "cpu.rt_runtime_us", period: "cpu.rt_period_us" } as const;

/** The weight on version 2's scale of 1 to 10000 for shares on version 1's of 2 to 262144. */
function weightOfShares(shares: number): number {
  return Math.max(1, Math.min(10_000, 1 + Math.floor(((Math.max(shares, 2) - 2) * 9999) / 262_142)));
}

export function* cpusetLimits({ cpu }: SpecResources, layout: Layout): Generator<Limit> {
  for (const part of ["cpus", "mems"] as const) {
    const value = cpu?.[part];
    if (value === undefined || value === "") continue;
    const field = `cpu.${part}`;
    yield { hierarchy: need(layout, "cpuset", field), file: `cpuset.${part}`, value, field };
  }
}
