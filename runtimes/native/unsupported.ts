import { Failure } from "../../src/core/errors.ts";
import type { Spec } from "../../src/core/spec.ts";

/** What a spec can ask for and this runtime cannot do. A spec that asks is refused: nothing is left out silently. */
const fields: readonly (readonly [field: string, read: (spec: Spec) => unknown])[] = [
  ["linux.intelRdt", ({ linux }) => linux.intelRdt],
  // Of later versions of the specification.
  ["linux.netDevices", ({ linux }) => Reflect.get(linux, "netDevices")],
  ["linux.memoryPolicy", ({ linux }) => Reflect.get(linux, "memoryPolicy")],
];

/** Whether a field is one of those, by its name as the specification has it. */
export function isUnsupported(name: string): boolean {
  return fields.some(([field]) => field === name);
}

/** @throws unimplemented, naming the field. */
export function refuseUnsupported(spec: Spec): void {
  for (const [field, read] of fields) {
    if (isEmpty(read(spec))) continue;
    throw new Failure("unimplemented", `cannot use ${field}: the native runtime does not support it yet`, {
      details: { field },
    });
  }
}

function isEmpty(value: unknown): boolean {
  if (value === undefined || value === null || value === false || value === "" || value === 0) return true;
  return typeof value === "object" && Object.keys(value).length === 0;
}
