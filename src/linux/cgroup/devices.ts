import type { SpecResources } from "../../core/spec.ts";

type SpecRule = NonNullable<SpecResources["devices"]>[number];

/** A rule about devices; the last one that matches a device decides. */
export interface DeviceRule {
  readonly allow: boolean;
  /** All, block, character. */
  readonly type: "a" | "b" | "c";
  /** Undefined: any. */
  readonly major: number | undefined;
  readonly minor: number | undefined;
  /** A mixture of `r`, `w` and `m` (make a node). */
  readonly access: string;
  /** As version 1's files take it: `c 1:3 rwm`. */
  readonly text: string;
}

/** What every container may use, whatever its spec says: the default devices, terminals, and nodes of any device. */
const always: readonly SpecRule[] = [
  { allow: true, type: "c", access: "m" },
  { allow: true, type: "b", access: "m" },
  ...[[1, 3], [1, 5], [1, 7], [1, 8], [1, 9], [5, 0], [5, 2]].map(([major, minor]) => (
    { allow: true, type: "c", major, minor, access: "rwm" } as const
  )),
  { allow: true, type: "c", major: 136, access: "rwm" },
];

/**
 * The rules of a container: its spec's, and what every container needs. Rules that say again what one before them says are
 * left out.
 */
export function deviceRules(rules: readonly SpecRule[]): readonly DeviceRule[] {
  if (rules.length === 0) return [];
  const seen = new Set<string>();
  const result: DeviceRule[] = [];
  for (const rule of [...rules, ...always].map(parse)) {
    if (rule.type === "a") seen.clear();
    const key = `${rule.allow} ${rule.text}`;
    if (seen.has(key)) continue;
    seen.add(key);
    result.push(rule);
  }
  return result;
}

function parse({ allow, type, major, minor, access }: SpecRule): DeviceRule {
  const number = (value: number | null | undefined) =>
    value === undefined || value === null || value === -1 ? undefined : value;
  const rule = {
    allow,
    type: type === undefined || type === "" ? "a" : type,
    major: number(major),
    minor: number(minor),
    access: access === undefined || access === "" ? "rwm" : access,
  } as const;
  // Version 1 takes no numbers with "all".
  const text = rule.type === "a" ? "a" : `${rule.type} ${rule.major ?? "*"}:${rule.minor ?? "*"} ${rule.access}`;
  return { ...rule, text };
}
