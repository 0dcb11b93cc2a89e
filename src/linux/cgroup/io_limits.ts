import type { SpecResources } from "../../core/spec.ts";
import type { Hierarchy, Layout } from "./layout.ts";
import { digits, isSet, type Limit, need, only1 } from "./limit.ts";

const throttles = [
  ["throttleReadBpsDevice", "read_bps_device", "rbps"],
  ["throttleWriteBpsDevice", "write_bps_device", "wbps"],
  ["throttleReadIOPSDevice", "read_iops_device", "riops"],
  ["throttleWriteIOPSDevice", "write_iops_device", "wiops"],
] as const;

/** @see https://github.com/opencontainers/runtime-spec/blob/v1.2.0/config-linux.md#block-io */
export function* ioLimits({ blockIO }: SpecResources, layout: Layout): Generator<Limit> {
  if (!blockIO) return;
  const { weight, leafWeight } = blockIO;
  const find = (field: string) => layout.find("blkio") ?? need(layout, "io", field);
  if (isSet(weight) && weight !== 0) {
    const field = "blockIO.weight";
    yield weightLimit(find(field), field, weight, "");
  }
  if (isSet(leafWeight) && leafWeight !== 0) yield leaf(find, "blockIO.leafWeight", "blkio.leaf_weight", leafWeight);
  for (const [index, { major, minor, ...of }] of (blockIO.weightDevice ?? []).entries()) {
    const field = `blockIO.weightDevice[${index}]`;
    const device = `${digits(major)}:${digits(minor)}`;
    if (isSet(of.weight) && of.weight !== 0) yield weightLimit(find(field), `${field}.weight`, of.weight, `${device} `);
    if (isSet(of.leafWeight) && of.leafWeight !== 0) {
      yield leaf(find, `${field}.leafWeight`, "blkio.leaf_weight_device", of.leafWeight, `${device} `);
    }
  }
  for (const [name, file, key] of throttles) {
    for (const [index, { major, minor, rate = 0 }] of (blockIO[name] ?? []).entries()) {
      const field = `blockIO.${name}[${index}]`;
      const hierarchy = find(field);
      const device = `${digits(major)}:${digits(minor)}`;
      // No rate is no limit.
      yield hierarchy.version === 1
        ? { hierarchy, file: `blkio.throttle.${file}`, value: `${device} ${digits(rate)}`, field }
        : { hierarchy, file: "io.max", value: `${device} ${key}=${rate === 0 ? "max" : digits(rate)}`, field };
    }
  }
}

/** The scheduler BFQ has its own file; other weights of version 2 are on a scale of 1 to 10000. */
function weightLimit(hierarchy: Hierarchy, field: string, weight: number, device: string): Limit {
  if (hierarchy.version === 1) {
    const suffix = device === "" ? "" : "_device";
    const value = `${device}${weight}`;
    return {
      hierarchy,
      file: `blkio.bfq.weight${suffix}`,
      value,
      field,
      instead: { file: `blkio.weight${suffix}`, value },
    };
  }
  const whose = device === "" ? "default " : device;
  return {
    hierarchy,
    file: "io.bfq.weight",
    value: `${whose}${weight}`,
    field,
    instead: { file: "io.weight", value: `${whose}${ioWeight(weight)}` },
  };
}

/** The weight on version 2's scale of 1 to 10000 for one on version 1's of 10 to 1000. */
function ioWeight(weight: number): number {
  return 1 + Math.floor(((weight - 10) * 9999) / 990);
}

/** No kernel since 5.0 has them. */
function leaf(find: (field: string) => Hierarchy, field: string, file: string, weight: number, device = ""): Limit {
  return { hierarchy: only1(find(field), field), file, value: `${device}${weight}`, field };
}
