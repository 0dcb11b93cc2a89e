import { Failure } from "../../src/core/errors.ts";
import type { SpecProcess } from "../../src/core/spec.ts";
import type { Operation } from "../../src/linux/program.ts";
import { quote } from "./steps.ts";

/** @see https://man7.org/linux/man-pages/man2/sched_setattr.2.html */
const policies = {
  SCHED_OTHER: 0,
  SCHED_FIFO: 1,
  SCHED_RR: 2,
  SCHED_BATCH: 3,
  SCHED_ISO: 4,
  SCHED_IDLE: 5,
  SCHED_DEADLINE: 6,
} as const;

const schedulerFlags = {
  SCHED_FLAG_RESET_ON_FORK: 1,
  SCHED_FLAG_RECLAIM: 2,
  SCHED_FLAG_DL_OVERRUN: 4,
  SCHED_FLAG_KEEP_POLICY: 8,
  SCHED_FLAG_KEEP_PARAMS: 0x10,
  SCHED_FLAG_UTIL_CLAMP_MIN: 0x20,
  SCHED_FLAG_UTIL_CLAMP_MAX: 0x40,
} as const;

/** `struct sched_attr`, in its second form. */
const attributeBytes = 56;

/** @see https://man7.org/linux/man-pages/man2/ioprio_set.2.html */
const ioClasses = { IOPRIO_CLASS_RT: 1, IOPRIO_CLASS_BE: 2, IOPRIO_CLASS_IDLE: 3 } as const;
const ioClassShift = 13;
const IOPRIO_WHO_PROCESS = 1;

/** As many as any kernel has. */
const mostProcessors = 8192;

/** Sets how the process is scheduled, on processors and disks, while it has the rights to. */
export function* setScheduling({ scheduler, ioPriority }: SpecProcess): Generator<Operation> {
  if (scheduler) {
    const args = [0, schedulerAttributes(scheduler), 0];
    yield { syscall: "sched_setattr", args, why: `set process.scheduler to ${quote(scheduler.policy)}` };
  }
  if (ioPriority) {
    const { class: name, priority = 0 } = ioPriority;
    const args = [IOPRIO_WHO_PROCESS, 0, ioClasses[name] << ioClassShift | priority];
    yield { syscall: "ioprio_set", args, why: `set process.ioPriority to ${quote(name)} ${priority}` };
  }
}

function schedulerAttributes(scheduler: NonNullable<SpecProcess["scheduler"]>): Uint8Array {
  const { policy, nice = 0, priority = 0, flags = [], runtime = 0, deadline = 0, period = 0 } = scheduler;
  const bytes = new Uint8Array(attributeBytes);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, attributeBytes, true);
  view.setUint32(4, policies[policy], true);
  view.setBigUint64(8, BigInt(flags.reduce((bits, flag) => bits | schedulerFlags[flag], 0)), true);
  view.setInt32(16, nice, true);
  view.setUint32(20, priority, true);
  for (const [index, value] of [runtime, deadline, period].entries()) {
    view.setBigUint64(24 + index * 8, BigInt.asUintN(64, BigInt(value)), true);
  }
  return bytes;
}

/** Runs this process on the processors of a list such as `0-3,7` alone. @throws invalid_argument for what is no list. */
export function* setAffinity(list: string | undefined, field: string): Generator<Operation> {
  if (list === undefined || list.trim() === "") return;
  const mask = processorMask(list, field);
  yield { syscall: "sched_setaffinity", args: [0, mask.length, mask], why: `set ${field} to ${quote(list)}` };
}

function processorMask(list: string, field: string): Uint8Array {
  const processors = list.split(",").flatMap((part) => {
    const [, first = "", last = first] = /^\s*(\d{1,4})\s*(?:-\s*(\d{1,4})\s*)?$/.exec(part) ?? [];
    const [from, to] = [Number.parseInt(first, 10), Number.parseInt(last, 10)];
    if (!(from <= to && to < mostProcessors)) {
      throw new Failure("invalid_argument", `cannot set ${field} to ${quote(list)}: want a list such as 0-3,7`, {
        details: { field },
      });
    }
    return Array.from({ length: to - from + 1 }, (_, index) => from + index);
  });
  // The kernel takes whole words.
  const mask = new Uint8Array((Math.max(...processors) >> 6) * 8 + 8);
  for (const processor of processors) mask[processor >> 3] = (mask[processor >> 3] ?? 0) | 1 << (processor & 7);
  return mask;
}

/** `PER_LINUX32`: uname(2) tells of a processor of 32 bits. */
const personalities = { LINUX: 0, LINUX32: 8 } as const;

/** Sets the execution domain. @see https://man7.org/linux/man-pages/man2/personality.2.html */
export function* setPersonality(
  personality: { readonly domain: keyof typeof personalities; readonly flags?: readonly string[] } | null | undefined,
): Generator<Operation> {
  if (!personality) return;
  const { domain, flags = [] } = personality;
  if (flags.length > 0) {
    throw new Failure("invalid_argument", `cannot use linux.personality.flags: ${quote(flags[0] ?? "")} is no flag`, {
      details: { field: "linux.personality.flags" },
    });
  }
  yield { syscall: "personality", args: [personalities[domain]], why: `set linux.personality to ${quote(domain)}` };
}
