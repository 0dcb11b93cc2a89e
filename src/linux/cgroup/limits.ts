import { Failure } from "../../core/errors.ts";
import type { SpecResources } from "../../core/spec.ts";
import { cpuLimits, cpusetLimits } from "./cpu_limits.ts";
import { deviceRules } from "./devices.ts";
import { ioLimits } from "./io_limits.ts";
import type { Layout } from "./layout.ts";
import { digits, isSet, type Limit, need } from "./limit.ts";
import { memoryLimits } from "./memory_limits.ts";

/**
 * Turns `linux.resources` into what is to be written, in order. The files of version 2 that are named come last: they are
 * meant to have the last word.
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
    ...hugepageLimits(resources, layout),
    ...rdmaLimits(resources, layout),
    ...networkLimits(resources, layout),
    ...deviceLimits(resources, layout),
    ...unifiedLimits(resources, layout),
  ];
}

function* pidsLimits({ pids }: SpecResources, layout: Layout): Generator<Limit> {
  if (!pids) return;
  const field = "pids.limit";
  // Zero and below mean no limit, as everywhere.
  const value = pids.limit > 0 ? digits(pids.limit) : "max";
  if (value === "max" && layout.find("pids") === undefined) return;
  yield { hierarchy: need(layout, "pids", field), file: "pids.max", value, field };
}

/** Pages that are used and, where the kernel counts them, pages that are promised. */
function* hugepageLimits({ hugepageLimits }: SpecResources, layout: Layout): Generator<Limit> {
  for (const [index, { pageSize, limit }] of (hugepageLimits ?? []).entries()) {
    const field = `hugepageLimits[${index}]`;
    const hierarchy = need(layout, "hugetlb", field);
    const file = hierarchy.version === 1 ? "limit_in_bytes" : "max";
    const value = digits(limit);
    yield { hierarchy, file: `hugetlb.${pageSize}.${file}`, value, field };
    yield { hierarchy, file: `hugetlb.${pageSize}.rsvd.${file}`, value, field, optional: true };
  }
}

function* rdmaLimits({ rdma }: SpecResources, layout: Layout): Generator<Limit> {
  for (const [device, { hcaHandles, hcaObjects }] of Object.entries(rdma ?? {})) {
    const field = `rdma[${JSON.stringify(device)}]`;
    const values = [
      ...isSet(hcaHandles) ? [`hca_handle=${hcaHandles}`] : [],
      ...isSet(hcaObjects) ? [`hca_object=${hcaObjects}`] : [],
    ];
    if (values.length === 0) continue;
    yield { hierarchy: need(layout, "rdma", field), file: "rdma.max", value: `${device} ${values.join(" ")}`, field };
  }
}

/** Version 2 leaves both to eBPF programs, and has no files for them. */
function* networkLimits({ network }: SpecResources, layout: Layout): Generator<Limit> {
  if (isSet(network?.classID) && network.classID !== 0) {
    const field = "network.classID";
    const hierarchy = need(layout, "net_cls", field);
    yield { hierarchy, file: "net_cls.classid", value: digits(network.classID), field };
  }
  for (const [index, { name, priority }] of (network?.priorities ?? []).entries()) {
    const field = `network.priorities[${index}]`;
    const hierarchy = need(layout, "net_prio", field);
    yield { hierarchy, file: "net_prio.ifpriomap", value: `${name} ${priority}`, field };
  }
}

/** Version 2 has no file for devices: a program decides, see `device_filter.ts`. */
function* deviceLimits({ devices }: SpecResources, layout: Layout): Generator<Limit> {
  const hierarchy = layout.find("devices");
  if (hierarchy === undefined) return;
  for (const { allow, text } of deviceRules(devices ?? [])) {
    yield { hierarchy, file: allow ? "devices.allow" : "devices.deny", value: text, field: "devices" };
  }
}

/** @see https://github.com/opencontainers/runtime-spec/blob/v1.2.0/config-linux.md#unified */
function* unifiedLimits({ unified }: SpecResources, layout: Layout): Generator<Limit> {
  for (const [file, value] of Object.entries(unified ?? {})) {
    const field = `unified[${JSON.stringify(file)}]`;
    const details = { field: "linux.resources.unified", file };
    if (!/^[a-z][a-z0-9_]*(?:\.\w+)+$/.test(file)) {
      throw new Failure("invalid_argument", `cannot set linux.resources.${field}: want a file of a cgroup`, {
        details,
      });
    }
    const controller = file.slice(0, file.indexOf("."));
    const hierarchy = controller === "cgroup"
      ? layout.hierarchies.find(({ version }) => version === 2)
      : need(layout, controller, field);
    if (hierarchy?.version !== 2) {
      throw new Failure(
        "failed_precondition",
        `cannot set linux.resources.${field}: this machine has ${controller} in cgroup v1: boot it with cgroup v2 alone`,
        { details },
      );
    }
    // A file of a line for each device takes one line at a time.
    for (const line of value.split("\n")) yield { hierarchy, file, value: line, field };
  }
}
