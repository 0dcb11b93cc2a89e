import { Failure } from "../../core/errors.ts";
import { errno } from "../errno.ts";
import { syscallFailure } from "../syscall_failure.ts";
import type { Hierarchy, Layout } from "./layout.ts";

/** One value to be written into one file of a cgroup. */
export interface Limit {
  readonly hierarchy: Hierarchy;
  readonly file: string;
  readonly value: string;
  /** The part of `linux.resources` that asks for it. */
  readonly field: string;
  /** Where the machine lacks the file, nothing is lost. */
  readonly optional?: boolean;
  /** What is written where the kernel has another file for the same. */
  readonly instead?: { readonly file: string; readonly value: string };
}

/** The hierarchy that has a controller. @throws failed_precondition where there is none. */
export function need(layout: Layout, controller: string, field: string): Hierarchy {
  const hierarchy = layout.find(controller);
  if (hierarchy !== undefined) return hierarchy;
  if (layout.delegated === true) {
    throw new Failure(
      "failed_precondition",
      `cannot set linux.resources.${field}: no cgroup with the ${controller} controller is this user's to ` +
        "change: run the daemon as root, or in a cgroup of its own (cgroup v2, Delegate=yes)",
      { details: { field: `linux.resources.${field}`, controller } },
    );
  }
  const unified = layout.hierarchies.some(({ version }) => version === 2);
  throw new Failure(
    "failed_precondition",
    `cannot set linux.resources.${field}: no cgroup hierarchy of this machine has the ${controller} controller: ` +
      (unified ? "enable it in cgroup.subtree_control of the cgroups above" : "mount it, where the kernel has it"),
    { details: { field: `linux.resources.${field}`, controller } },
  );
}

/** For a limit that version 2 has not. @throws unimplemented. */
export function only1(hierarchy: Hierarchy, field: string): Hierarchy {
  if (hierarchy.version === 1) return hierarchy;
  throw new Failure("unimplemented", `cannot set linux.resources.${field}: cgroup v2 has no such limit`, {
    details: { field: `linux.resources.${field}` },
  });
}

export function isSet(value: number | null | undefined): value is number {
  return value !== undefined && value !== null;
}

/** A number as the kernel reads it: also where JavaScript would write an exponent. */
export function digits(value: number): string {
  return BigInt(value).toString();
}

/** The same for version 2, where -1 is a word. */
export function digitsOrMax(value: number): string {
  return value === -1 ? "max" : digits(value);
}

/** What a limit does, as messages say it. */
export function describe({ field, value }: Limit): string {
  return `set linux.resources.${field} to ${JSON.stringify(value)}`;
}

/** What the kernel says of numbers that are out of range, or that no device has. */
const callersFault: ReadonlySet<number> = new Set([errno.ERANGE, errno.ENODEV, errno.EOVERFLOW]);

/** Why the kernel did not take a limit. @param result the negative errno. */
export function limitFailure(limit: Limit, result: number): Failure {
  const { hierarchy: { name }, file } = limit;
  const details = { field: `linux.resources.${limit.field}` };
  if (result === -errno.ENOENT) {
    return new Failure(
      "failed_precondition",
      `cannot ${describe(limit)}: the kernel has no ${file} in its cgroups here: see ${JSON.stringify(name)}`,
      { syscall: "openat", errno: "ENOENT", details },
    );
  }
  const failure = syscallFailure(`cannot ${describe(limit)}`, "write", result);
  return new Failure(callersFault.has(-result) ? "invalid_argument" : failure.code, failure.message, {
    syscall: "write",
    ...(failure.errno === undefined ? {} : { errno: failure.errno }),
    details,
  });
}
