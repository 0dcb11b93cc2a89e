import { Failure } from "../../core/errors.ts";
import type { SpecResources } from "../../core/spec.ts";
import type { Layout } from "./layout.ts";
import { digits, digitsOrMax, isSet, type Limit, need, only1 } from "./limit.ts";

/** Bytes that are asked for; 0 asks for nothing, as in runc. */
function asked(value: number | undefined): value is number {
  return value !== undefined && value !== 0;
}

/** @see https://github.com/opencontainers/runtime-spec/blob/v1.2.0/config-linux.md#memory */
export function* memoryLimits({ memory }: SpecResources, layout: Layout): Generator<Limit> {
  if (!memory) return;
  const { limit, reservation, kernel, kernelTCP, swappiness, disableOOMKiller, useHierarchy } = memory;
  // Who has no limit of memory has none of both together, unless it says so.
  const swap = memory.swap === undefined && limit === -1 ? -1 : memory.swap;
  if (asked(limit)) {
    const field = "memory.limit";
    const hierarchy = need(layout, "memory", field);
    yield hierarchy.version === 1
      ? { hierarchy, file: "memory.limit_in_bytes", value: digits(limit), field }
      : { hierarchy, file: "memory.max", value: digitsOrMax(limit), field };
  }
  if (asked(swap)) yield swapLimit(swap, limit, layout);
  if (asked(reservation)) {
    const field = "memory.reservation";
    const hierarchy = need(layout, "memory", field);
    yield hierarchy.version === 1
      ? { hierarchy, file: "memory.soft_limit_in_bytes", value: digits(reservation), field }
      : { hierarchy, file: "memory.low", value: digitsOrMax(reservation), field };
  }
  const v1 = (field: string, file: string, value: string): Limit => ({
    hierarchy: only1(need(layout, "memory", field), field),
    file,
    value,
    field,
  });
  if (asked(kernel) && kernel !== -1) yield v1("memory.kernel", "memory.kmem.limit_in_bytes", digits(kernel));
  if (asked(kernelTCP) && kernelTCP !== -1) {
    yield v1("memory.kernelTCP", "memory.kmem.tcp.limit_in_bytes", digits(kernelTCP));
  }
  if (isSet(swappiness)) yield v1("memory.swappiness", "memory.swappiness", digits(swappiness));
  if (typeof disableOOMKiller === "boolean" && (disableOOMKiller || layout.find("memory")?.version === 1)) {
    yield v1("memory.disableOOMKiller", "memory.oom_control", disableOOMKiller ? "1" : "0");
  }
  // Every kernel since 5.11 counts so, as does version 2.
  if (useHierarchy === false) yield v1("memory.useHierarchy", "memory.use_hierarchy", "0");
}

/** The specification counts memory and swap together, and version 2 swap alone. */
function swapLimit(swap: number, limit: number | undefined, layout: Layout): Limit {
  const field = "memory.swap";
  const hierarchy = need(layout, "memory", field);
  // The kernel may not account for swap. Where none is asked for beyond the memory, that is no loss.
  const optional = swap === -1 || swap === limit;
  if (hierarchy.version === 1) {
    return { hierarchy, file: "memory.memsw.limit_in_bytes", value: digits(swap), field, optional };
  }
  if (swap !== -1 && (limit === undefined || limit < 0 || swap < limit)) {
    throw new Failure("invalid_argument", `cannot set memory.swap to ${swap}: it counts memory and swap together`, {
      details: { field: "linux.resources.memory.swap" },
    });
  }
  const value = swap === -1 ? "max" : digits(swap - (limit ?? 0));
  return { hierarchy, file: "memory.swap.max", value, field, optional };
}
