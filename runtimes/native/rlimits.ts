import { Failure } from "../../src/core/errors.ts";
import type { SpecProcess } from "../../src/core/spec.ts";
import * as f from "../../src/linux/flags.ts";
import type { Operation } from "../../src/linux/program.ts";

const resources: Readonly<Record<string, number>> = {
  RLIMIT_CPU: f.RLIMIT_CPU,
  RLIMIT_FSIZE: f.RLIMIT_FSIZE,
  RLIMIT_DATA: f.RLIMIT_DATA,
  RLIMIT_STACK: f.RLIMIT_STACK,
  RLIMIT_CORE: f.RLIMIT_CORE,
  RLIMIT_RSS: f.RLIMIT_RSS,
  RLIMIT_NPROC: f.RLIMIT_NPROC,
  RLIMIT_NOFILE: f.RLIMIT_NOFILE,
  RLIMIT_MEMLOCK: f.RLIMIT_MEMLOCK,
  RLIMIT_AS: f.RLIMIT_AS,
  RLIMIT_LOCKS: f.RLIMIT_LOCKS,
  RLIMIT_SIGPENDING: f.RLIMIT_SIGPENDING,
  RLIMIT_MSGQUEUE: f.RLIMIT_MSGQUEUE,
  RLIMIT_NICE: f.RLIMIT_NICE,
  RLIMIT_RTPRIO: f.RLIMIT_RTPRIO,
  RLIMIT_RTTIME: f.RLIMIT_RTTIME,
};

/** `RLIM_INFINITY`. */
export const unlimited = 0xffff_ffff_ffff_ffffn;

/** A limit of one resource. */
export interface Rlimit {
  readonly type: string;
  readonly resource: number;
  readonly soft: bigint;
  readonly hard: bigint;
}

/**
 * Reads `process.rlimits`.
 * @throws invalid_argument for an unknown or repeated type, or a soft limit above the hard one.
 */
export function rlimitsOf(process: SpecProcess): readonly Rlimit[] {
  const seen = new Set<string>();
  return (process.rlimits ?? []).map(({ type, soft, hard }) => {
    const resource = resources[type];
    const problem = resource === undefined
      ? "it is no resource limit"
      : seen.has(type)
      ? "it is there twice"
      : soft > hard
      ? `its soft limit ${soft} is above its hard limit ${hard}`
      : undefined;
    if (resource === undefined || problem !== undefined) {
      throw new Failure("invalid_argument", `cannot set rlimit ${JSON.stringify(type)}: ${problem}`, {
        details: { field: "process.rlimits", type },
      });
    }
    seen.add(type);
    return { type, resource, soft: exact(soft), hard: exact(hard) };
  });
}

function exact(value: number): bigint {
  return value > Number.MAX_SAFE_INTEGER ? unlimited : BigInt(Math.floor(value));
}

/** Below this a process might not come to its own start. */
const leastRaised = 1024n;

/** Raises the hard limits, for a process that may not do so later. */
export function* raiseRlimits(limits: readonly Rlimit[]): Generator<Operation> {
  for (const { type, resource, hard } of limits) {
    if (hard < leastRaised) continue;
    yield { syscall: "prlimit64", args: [0, resource, [hard, hard], 0], why: `set the hard limit ${type} to ${hard}` };
  }
}

/** Sets the limits, while the child may still raise them. */
export function* setRlimits(limits: readonly Rlimit[]): Generator<Operation> {
  for (const { type, resource, soft, hard } of limits) {
    yield { syscall: "prlimit64", args: [0, resource, [soft, hard], 0], why: `set ${type} to ${soft}:${hard}` };
  }
}
