import * as v from "valibot";
import { int64, list, map, mapOf, text, uint16, uint32, uint64 } from "./spec_values.ts";

/** A size in bytes; -1 means unlimited. */
const limit = v.optional(v.pipe(int64, v.minValue(-1)));

/** @see https://github.com/opencontainers/runtime-spec/blob/v1.2.0/config-linux.md#allowed-device-list */
const DeviceRuleSchema = v.looseObject({
  allow: v.boolean(),
  type: v.optional(v.picklist(["", "a", "b", "c"])),
  /** Undefined or -1: all. */
  major: v.nullish(int64),
  minor: v.nullish(int64),
  /** A mixture of `r`, `w` and `m`. */
  access: v.optional(v.pipe(v.string(), v.regex(/^[rwm]*$/, "a mixture of r, w and m"))),
});

/** @see https://github.com/opencontainers/runtime-spec/blob/v1.2.0/config-linux.md#memory */
const MemorySchema = v.looseObject({
  limit,
  /** Bytes of memory and swap together. */
  swap: limit,
  /** What is left to it when others need memory. */
  reservation: limit,
  /** No kernel since 5.16 has it. */
  kernel: limit,
  kernelTCP: limit,
  /** 0 to 100. */
  swappiness: v.nullish(uint64),
  disableOOMKiller: v.nullish(v.boolean()),
  useHierarchy: v.nullish(v.boolean()),
  /** Refuse an update below what is in use. */
  checkBeforeUpdate: v.nullish(v.boolean()),
});

/** @see https://github.com/opencontainers/runtime-spec/blob/v1.2.0/config-linux.md#cpu */
const CpuSchema = v.looseObject({
  shares: v.nullish(uint64),
  /** Microseconds of CPU time in each period; -1 for no limit. */
  quota: v.nullish(v.pipe(int64, v.minValue(-1))),
  /** Microseconds that may be saved up beyond the quota. */
  burst: v.nullish(uint64),
  /** Microseconds. */
  period: v.nullish(uint64),
  realtimeRuntime: v.nullish(int64),
  realtimePeriod: v.nullish(uint64),
  /** 1: only when nobody else wants the processor. */
  idle: v.nullish(int64),
  /** A list such as `0-3,7`. */
  cpus: v.optional(text),
  mems: v.optional(text),
});

const device = { major: int64, minor: int64 };
const throttles = list(v.looseObject({ ...device, rate: v.optional(uint64) }));

/** @see https://github.com/opencontainers/runtime-spec/blob/v1.2.0/config-linux.md#block-io */
const BlockIoSchema = v.looseObject({
  /** 10 to 1000. */
  weight: v.nullish(uint16),
  leafWeight: v.nullish(uint16),
  weightDevice: list(v.looseObject({ ...device, weight: v.nullish(uint16), leafWeight: v.nullish(uint16) })),
  /** Bytes, or operations, in a second. */
  throttleReadBpsDevice: throttles,
  throttleWriteBpsDevice: throttles,
  throttleReadIOPSDevice: throttles,
  throttleWriteIOPSDevice: throttles,
});

/** @see https://github.com/opencontainers/runtime-spec/blob/v1.2.0/config-linux.md#control-groups */
export const ResourcesSchema = v.looseObject({
  devices: list(DeviceRuleSchema),
  memory: v.nullish(MemorySchema),
  cpu: v.nullish(CpuSchema),
  pids: v.nullish(v.looseObject({ limit: int64 })),
  blockIO: v.nullish(BlockIoSchema),
  hugepageLimits: list(v.looseObject({
    pageSize: v.pipe(v.string(), v.regex(/^[1-9][0-9]*[KMG]B$/, "a size such as 2MB")),
    limit: uint64,
  })),
  network: v.nullish(v.looseObject({
    classID: v.nullish(uint32),
    priorities: list(v.looseObject({ name: text, priority: uint32 })),
  })),
  /** By the device's name. */
  rdma: mapOf(v.looseObject({ hcaHandles: v.nullish(uint32), hcaObjects: v.nullish(uint32) })),
  /** cgroup v2 files and their values. */
  unified: map,
});
