import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { codeOf } from "../../../src/core/errors.ts";
import type { SpecResources } from "../../../src/core/spec.ts";
import type { Hierarchy, Layout } from "../../../src/linux/cgroup/layout.ts";
import { limitsOf } from "../../../src/linux/cgroup/limits.ts";

const controllers = [
  "memory",
  "cpu",
  "cpuset",
  "pids",
  "io",
  "blkio",
  "hugetlb",
  "rdma",
  "devices",
  "net_cls",
  "net_prio",
];
const only2 = new Set(["io"]);
const only1 = new Set(["blkio", "devices", "net_cls", "net_prio"]);

function layoutOf(version: 1 | 2): Layout {
  const missing = version === 1 ? only2 : only1;
  const has = controllers.filter((name) => !missing.has(name));
  const hierarchies: Hierarchy[] = version === 2
    ? [{ version, path: "/c", name: "", controllers: has }]
    : has.map((name) => ({ version, path: `/c/${name}`, name, controllers: [name] }));
  return { hierarchies, find: (name) => hierarchies.find((each) => each.controllers.includes(name)) };
}

/** `file=value`, what is written instead behind a bar, and a question mark for what may be missing. */
function written(resources: SpecResources, version: 1 | 2): readonly string[] {
  return limitsOf(resources, layoutOf(version)).map(({ file, value, instead, optional }) =>
    `${file}=${value}${instead === undefined ? "" : `|${instead.file}=${instead.value}`}${optional === true ? "?" : ""}`
  );
}

type Wanted = readonly string[] | string;
const table: readonly (readonly [what: string, resources: SpecResources, v1: Wanted, v2: Wanted])[] = [
  ["nothing", {}, [], []],
  ["zeros", { memory: { limit: 0, swap: 0, reservation: 0 }, cpu: { shares: 0, quota: 0, period: 0 } }, [], []],
  ["memory", { memory: { limit: 1000, swap: 3000, reservation: 500 } }, [
    "memory.limit_in_bytes=1000",
    "memory.memsw.limit_in_bytes=3000",
    "memory.soft_limit_in_bytes=500",
  ], ["memory.max=1000", "memory.swap.max=2000", "memory.low=500"]],
  ["no swap", { memory: { limit: 1000, swap: 1000 } }, [
    "memory.limit_in_bytes=1000",
    "memory.memsw.limit_in_bytes=1000?",
  ], ["memory.max=1000", "memory.swap.max=0?"]],
  ["no limits", { memory: { limit: -1 }, pids: { limit: 0 }, cpu: { quota: -1 } }, [
    "memory.limit_in_bytes=-1",
    "memory.memsw.limit_in_bytes=-1?",
    "cpu.cfs_quota_us=-1",
    "pids.max=max",
  ], ["memory.max=max", "memory.swap.max=max?", "cpu.max=max 100000", "pids.max=max"]],
  ["a huge number", { memory: { limit: 2 ** 62 } }, [
    "memory.limit_in_bytes=4611686018427387904",
  ], ["memory.max=4611686018427387904"]],
  ["swap below memory", { memory: { limit: 1000, swap: 500 } }, [
    "memory.limit_in_bytes=1000",
    "memory.memsw.limit_in_bytes=500",
  ], "invalid_argument"],
  ["swappiness", { memory: { swappiness: 7 } }, ["memory.swappiness=7"], "unimplemented"],
  ["no OOM killer", { memory: { disableOOMKiller: true } }, ["memory.oom_control=1"], "unimplemented"],
  ["an OOM killer", { memory: { disableOOMKiller: false } }, ["memory.oom_control=0"], []],
  ["kernel memory", { memory: { kernel: 5, kernelTCP: 6 } }, [
    "memory.kmem.limit_in_bytes=5",
    "memory.kmem.tcp.limit_in_bytes=6",
  ], "unimplemented"],
  ["no hierarchy", { memory: { useHierarchy: false } }, ["memory.use_hierarchy=0"], "unimplemented"],
  ["a hierarchy", { memory: { useHierarchy: true, kernel: -1 } }, [], []],
  ["cpu", { cpu: { shares: 1024, quota: 5000, period: 10_000, burst: 100, idle: 1 } }, [
    "cpu.shares=1024",
    "cpu.cfs_period_us=10000",
    "cpu.cfs_quota_us=5000",
    "cpu.cfs_burst_us=100",
    "cpu.idle=1",
  ], ["cpu.weight=39", "cpu.max=5000 10000", "cpu.max.burst=100", "cpu.idle=1"]],
  ["the least and most shares", { cpu: { shares: 2 } }, ["cpu.shares=2"], ["cpu.weight=1"]],
  ["the most shares", { cpu: { shares: 262_144 } }, ["cpu.shares=262144"], ["cpu.weight=10000"]],
  ["real time", { cpu: { realtimePeriod: 1000, realtimeRuntime: 500 } }, [
    "cpu.rt_period_us=1000",
    "cpu.rt_runtime_us=500",
  ], "unimplemented"],
  ["cpuset", { cpu: { cpus: "0-1", mems: "0" } }, ["cpuset.cpus=0-1", "cpuset.mems=0"], [
    "cpuset.cpus=0-1",
    "cpuset.mems=0",
  ]],
  ["an io weight", { blockIO: { weight: 500 } }, ["blkio.bfq.weight=500|blkio.weight=500"], [
    "io.bfq.weight=default 500|io.weight=default 4950",
  ]],
  ["the least io weight", { blockIO: { weight: 10 } }, ["blkio.bfq.weight=10|blkio.weight=10"], [
    "io.bfq.weight=default 10|io.weight=default 1",
  ]],
  ["a device's weight", { blockIO: { weightDevice: [{ major: 8, minor: 1, weight: 1000 }] } }, [
    "blkio.bfq.weight_device=8:1 1000|blkio.weight_device=8:1 1000",
  ], ["io.bfq.weight=8:1 1000|io.weight=8:1 10000"]],
  ["a leaf's weight", { blockIO: { leafWeight: 10 } }, ["blkio.leaf_weight=10"], "unimplemented"],
  ["throttles", {
    blockIO: {
      throttleReadBpsDevice: [{ major: 8, minor: 0, rate: 1 }],
      throttleWriteBpsDevice: [{ major: 8, minor: 0, rate: 2 }],
      throttleReadIOPSDevice: [{ major: 8, minor: 0, rate: 3 }],
      throttleWriteIOPSDevice: [{ major: 8, minor: 0, rate: 0 }],
    },
  }, [
    "blkio.throttle.read_bps_device=8:0 1",
    "blkio.throttle.write_bps_device=8:0 2",
    "blkio.throttle.read_iops_device=8:0 3",
    "blkio.throttle.write_iops_device=8:0 0",
  ], ["io.max=8:0 rbps=1", "io.max=8:0 wbps=2", "io.max=8:0 riops=3", "io.max=8:0 wiops=max"]],
  ["huge pages", { hugepageLimits: [{ pageSize: "2MB", limit: 4096 }] }, [
    "hugetlb.2MB.limit_in_bytes=4096",
    "hugetlb.2MB.rsvd.limit_in_bytes=4096?",
  ], ["hugetlb.2MB.max=4096", "hugetlb.2MB.rsvd.max=4096?"]],
  ["rdma", { rdma: { mlx5_1: { hcaHandles: 3, hcaObjects: 10 }, none: {} } }, [
    "rdma.max=mlx5_1 hca_handle=3 hca_object=10",
  ], ["rdma.max=mlx5_1 hca_handle=3 hca_object=10"]],
  ["network", { network: { classID: 0x100001, priorities: [{ name: "eth0", priority: 5 }] } }, [
    "net_cls.classid=1048577",
    "net_prio.ifpriomap=eth0 5",
  ], "failed_precondition"],
  ["unified files", { unified: { "memory.high": "5", "io.max": "8:0 rbps=1\n8:1 rbps=2" } }, "failed_precondition", [
    "memory.high=5",
    "io.max=8:0 rbps=1",
    "io.max=8:1 rbps=2",
  ]],
  ["a unified file of the core", { unified: { "cgroup.max.depth": "1" } }, "failed_precondition", [
    "cgroup.max.depth=1",
  ]],
  ["no file of a cgroup", { unified: { "memory/../x": "5" } }, "invalid_argument", "invalid_argument"],
];

describe("limitsOf()", () => {
  for (const [what, resources, v1, v2] of table) {
    for (const [version, wanted] of [[1, v1], [2, v2]] as const) {
      it(`${typeof wanted === "string" ? "refuses" : "writes"} ${what} on version ${version}`, () => {
        if (typeof wanted === "string") {
          assert.throws(() => written(resources, version), (error: unknown) => codeOf(error) === wanted);
        } else assert.deepEqual(written(resources, version), wanted);
      });
    }
  }

  it("names the controller that is missing", () => {
    const none: Layout = { hierarchies: [], find: () => undefined };
    assert.throws(() => limitsOf({ pids: { limit: 1 } }, none), /pids\.limit.*pids controller/);
  });
});
