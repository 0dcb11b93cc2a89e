import type { Spec } from "../../src/core/spec.ts";

/**
 * Writes a spec as the `config.json` of a bundle, with 64-bit numbers as Go reads them: those that a double has rounded up
 * beyond 2^64 are 2^64 - 1, and seccomp's decimal strings are numbers.
 */
export function configJson(spec: Spec): string {
  const { seccomp } = spec.linux;
  if (seccomp === undefined || seccomp === null) return json(spec);
  const syscalls = seccomp.syscalls?.map((rule) => ({
    ...rule,
    args: rule.args?.map(({ value, valueTwo, ...arg }) => ({
      ...arg,
      value: BigInt(value),
      ...(valueTwo === undefined ? {} : { valueTwo: BigInt(valueTwo) }),
    })),
  }));
  return json({ ...spec, linux: { ...spec.linux, seccomp: { ...seccomp, syscalls } } });
}

const maximum = 2n ** 64n - 1n;

/** JSON with whole numbers of any size. */
export function json(value: unknown): string {
  if (typeof value === "bigint") return String(value > maximum ? maximum : value);
  if (typeof value === "number" && Number.isInteger(value) && !Number.isSafeInteger(value)) return json(BigInt(value));
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map((item) => json(item ?? null)).join(",")}]`;
  const entries = Object.entries(value).filter(([, item]) => item !== undefined);
  return `{${entries.map(([key, item]) => `${JSON.stringify(key)}:${json(item)}`).join(",")}}`;
}
