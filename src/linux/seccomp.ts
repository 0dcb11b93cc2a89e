import { Failure } from "../core/errors.ts";
import type { Host } from "../core/host.ts";
import { type Seccomp, seccompActions, seccompOperators } from "../core/spec.ts";
import { bpf, BpfAssembler, type Label } from "./bpf.ts";
import { type SyscallName, type SyscallTable, syscallTable } from "./syscalls.ts";

/*
 * Compiles the seccomp section of an OCI configuration to the classic BPF that the kernel loads.
 *
 * Where the specification leaves a choice, it is made as runc makes it:
 * - names that the processor does not have are ignored;
 * - a rule whose action is the default one says nothing, and is left out;
 * - a rule without conditions on arguments decides its system call, whatever the others say;
 * - conditions of one rule are all to hold, except where two of them look at the same argument: then each is a rule;
 * - numbers above the highest that the profile names are newer than the profile, and answered with ENOSYS unless the default
 *   lets calls pass: programs then fall back to what the profile knows.
 *
 * One choice is not runc's: only the native ABI exists. A call by another architecture's table (i386 on x86-64, arm on
 * arm64) kills the process, since its numbers mean other calls. An x32 number is answered with ENOSYS, as a kernel without
 * x32 answers it.
 */

type Rule = NonNullable<Seccomp["syscalls"]>[number];
type Condition = NonNullable<Rule["args"]>[number];
/** What is done with one system call: a return value, or conditions to be tried in order. */
type Decision = number | readonly Alternative[];
interface Alternative {
  readonly conditions: readonly Condition[];
  readonly value: number;
}
/** System calls from `first` up to the next range that share a decision. */
interface Range {
  readonly first: number;
  readonly decision: Decision;
}

/** @see https://github.com/torvalds/linux/blob/v6.18/include/uapi/linux/audit.h */
const auditArch: Readonly<Record<Host["arch"], number>> = { x64: 0xc000003e, arm64: 0xc00000b7 };

/** Byte offsets in `struct seccomp_data`. */
const data = { number: 0, arch: 4, low: (index: number) => 16 + 8 * index, high: (index: number) => 20 + 8 * index };

/** @see https://man7.org/linux/man-pages/man2/seccomp.2.html */
const ret = {
  killThread: 0,
  killProcess: 0x8000_0000,
  trap: 0x0003_0000,
  errno: 0x0005_0000,
  trace: 0x7ff0_0000,
  log: 0x7ffc_0000,
  allow: 0x7fff_0000,
};
const EPERM = 1;
const ENOSYS = 38;
const enosys = ret.errno | ENOSYS;
const x32Bit = 0x4000_0000;
const maxInstructions = 4096;

/**
 * Compiles a profile. The result depends on nothing else, so that it can be kept for as long as the profile is used.
 *
 * @returns `struct sock_filter[]`, 8 bytes each, little endian.
 * @throws invalid_argument for a value that cannot be; resource_exhausted over the kernel's 4096 instructions;
 * unimplemented for SCMP_ACT_NOTIFY.
 * @see https://github.com/opencontainers/runtime-spec/blob/v1.2.0/config-linux.md#seccomp
 */
export function compileSeccomp(seccomp: Seccomp, arch: Host["arch"]): Uint8Array<ArrayBuffer> {
  const otherwise = returnValue(seccomp.defaultAction, seccomp.defaultErrnoRet);
  const decisions = decide(seccomp, otherwise, syscallTable(arch));
  const assembler = new BpfAssembler();
  assembler.enter(search(assembler, ranges(decisions, otherwise, arch), otherwise));
  assembler.prepend(bpf.load, data.number);
  const native = assembler.length;
  assembler.enter(assembler.branch(bpf.equal, auditArch[arch], native, assembler.return(ret.killProcess)));
  assembler.prepend(bpf.load, data.arch);
  if (assembler.length > maxInstructions) {
    throw new Failure(
      "resource_exhausted",
      `cannot compile seccomp profile: it takes ${assembler.length} instructions, the kernel loads ${maxInstructions} at most`,
    );
  }
  return assembler.assemble();
}

/** Whether a profile lets all of these calls pass, whatever their arguments are. */
export function letsPass(seccomp: Seccomp, names: readonly SyscallName[], arch: Host["arch"]): boolean {
  const otherwise = returnValue(seccomp.defaultAction, seccomp.defaultErrnoRet);
  const table = syscallTable(arch);
  const decisions = decide(seccomp, otherwise, table);
  return names.every((name) => {
    const number = table[name];
    return number !== undefined && (decisions.get(number) ?? otherwise) === ret.allow;
  });
}

const flagBits: Readonly<Record<string, number>> = {
  SECCOMP_FILTER_FLAG_TSYNC: 1,
  SECCOMP_FILTER_FLAG_LOG: 2,
  SECCOMP_FILTER_FLAG_SPEC_ALLOW: 4,
};

/**
 * The flags that a profile wants `seccomp(SECCOMP_SET_MODE_FILTER)` to be called with.
 * @throws invalid_argument for an unknown flag; unimplemented where a listener is asked for.
 */
export function seccompFlags(seccomp: Seccomp): number {
  if (seccomp.listenerPath) {
    throw new Failure("unimplemented", `cannot notify seccomp listener "${seccomp.listenerPath}": not supported`);
  }
  let bits = 0;
  for (const flag of seccomp.flags ?? []) {
    const bit = flagBits[flag];
    if (bit === undefined) {
      throw new Failure(
        "invalid_argument",
        `cannot use seccomp flag "${flag}": want one of ${Object.keys(flagBits).join(", ")}`,
      );
    }
    bits |= bit;
  }
  return bits;
}

/** What profiles may name, as an OCI runtime's features have it. */
export function seccompFeatures(arch: Host["arch"]) {
  const flags = Object.keys(flagBits).sort();
  return {
    actions: seccompActions.filter((action) => !refusedActions.has(action)).sort(),
    operators: seccompOperators.toSorted(),
    archs: [{ x64: "SCMP_ARCH_X86_64", arm64: "SCMP_ARCH_AARCH64" }[arch]],
    knownFlags: flags,
    supportedFlags: flags,
  };
}

/** Collects what the rules say of each system call that this processor has. */
function decide(seccomp: Seccomp, otherwise: number, table: SyscallTable): Map<number, Decision> {
  const decisions = new Map<number, Decision>();
  for (const rule of seccomp.syscalls ?? []) {
    const value = returnValue(rule.action, rule.errnoRet ?? undefined);
    const alternatives = alternativesOf(rule, value);
    for (const name of rule.names) {
      const number = Object.hasOwn(table, name) ? table[name as SyscallName] : undefined;
      if (number === undefined) continue;
      const known = decisions.get(number) ?? [];
      if (typeof known === "number") continue;
      if (value === otherwise) decisions.set(number, known);
      else decisions.set(number, alternatives.length === 0 ? value : [...known, ...alternatives]);
    }
  }
  return decisions;
}

function alternativesOf(rule: Rule, value: number): readonly Alternative[] {
  const conditions = rule.args ?? [];
  if (conditions.length === 0) return [];
  const distinct = new Set(conditions.map(({ index }) => index)).size === conditions.length;
  return distinct ? [{ conditions, value }] : conditions.map((condition) => ({ conditions: [condition], value }));
}

/** Cuts all numbers into ranges of one decision, in order. */
function ranges(decisions: ReadonlyMap<number, Decision>, otherwise: number, arch: Host["arch"]): readonly Range[] {
  const found: Range[] = [{ first: 0, decision: otherwise }];
  const add = (first: number, decision: Decision) => {
    const last = found.at(-1);
    if (last?.first === first) found.pop();
    if (found.at(-1)?.decision !== decision) found.push({ first, decision });
  };
  for (const [number, decision] of [...decisions].sort(([a], [b]) => a - b)) {
    add(number, typeof decision === "object" && decision.length === 0 ? otherwise : decision);
    add(number + 1, otherwise);
  }
  const highest = Math.max(...decisions.keys());
  const passes = otherwise === ret.allow || otherwise === ret.log;
  if (decisions.size > 0 && !passes) add(highest + 1, enosys);
  if (arch === "x64") add(x32Bit, enosys);
  return found;
}

/** A binary search over the ranges; the kernel walks it once for each system call when it loads the filter. */
function search(assembler: BpfAssembler, found: readonly Range[], otherwise: number): Label {
  const [range] = found;
  if (range === undefined) return assembler.return(otherwise);
  if (found.length === 1) return leaf(assembler, range.decision, otherwise);
  const middle = found.length >> 1;
  const above = search(assembler, found.slice(middle), otherwise);
  const below = search(assembler, found.slice(0, middle), otherwise);
  return assembler.branch(bpf.greaterOrEqual, (found[middle] as Range).first, above, below);
}

function leaf(assembler: BpfAssembler, decision: Decision, otherwise: number): Label {
  if (typeof decision === "number") return assembler.return(decision);
  let next = assembler.return(otherwise);
  for (const { conditions, value } of decision.toReversed()) {
    let yes = assembler.return(value);
    for (const condition of conditions.toReversed()) yes = test(assembler, condition, yes, next);
    next = yes;
  }
  return next;
}

/** Compares one 64-bit argument, as two halves; the upper one decides unless it is equal. */
function test(assembler: BpfAssembler, condition: Condition, yes: Label, no: Label): Label {
  const { index, op } = condition;
  const value = uint64(condition.value);
  const [high, low] = halves(value);
  switch (op) {
    case "SCMP_CMP_NE":
      return equal(no, yes);
    case "SCMP_CMP_EQ":
      return equal(yes, no);
    case "SCMP_CMP_GT":
      return above(bpf.greater, yes, no);
    case "SCMP_CMP_LE":
      return above(bpf.greater, no, yes);
    case "SCMP_CMP_GE":
      return above(bpf.greaterOrEqual, yes, no);
    case "SCMP_CMP_LT":
      return above(bpf.greaterOrEqual, no, yes);
    case "SCMP_CMP_MASKED_EQ": {
      const [wantedHigh, wantedLow] = halves(uint64(condition.valueTwo ?? 0));
      const lower = masked(data.low(index), low, wantedLow, yes, no);
      return masked(data.high(index), high, wantedHigh, lower, no);
    }
    default:
      return op satisfies never;
  }

  function equal(same: Label, different: Label): Label {
    const lower = compare(data.low(index), bpf.equal, low, same, different);
    return compare(data.high(index), bpf.equal, high, lower, different);
  }

  function above(comparison: number, is: Label, isNot: Label): Label {
    const lower = compare(data.low(index), comparison, low, is, isNot);
    const tie = assembler.branch(bpf.equal, high, lower, isNot);
    return compare(data.high(index), bpf.greater, high, is, tie);
  }

  function compare(offset: number, comparison: number, k: number, is: Label, isNot: Label): Label {
    assembler.enter(assembler.branch(comparison, k, is, isNot));
    return assembler.prepend(bpf.load, offset);
  }

  function masked(offset: number, mask: number, wanted: number, is: Label, isNot: Label): Label {
    if (mask === 0) return wanted === 0 ? is : isNot;
    assembler.enter(assembler.branch(bpf.equal, wanted, is, isNot));
    assembler.prepend(bpf.and, mask);
    return assembler.prepend(bpf.load, offset);
  }
}

/** Those that need somebody who listens. */
const refusedActions: ReadonlySet<string> = new Set<Seccomp["defaultAction"]>(["SCMP_ACT_NOTIFY"]);

function returnValue(action: Seccomp["defaultAction"], errnoRet: number | undefined): number {
  switch (action) {
    case "SCMP_ACT_ALLOW":
      return ret.allow;
    case "SCMP_ACT_KILL":
    case "SCMP_ACT_KILL_THREAD":
      return ret.killThread;
    case "SCMP_ACT_KILL_PROCESS":
      return ret.killProcess;
    case "SCMP_ACT_TRAP":
      return ret.trap;
    case "SCMP_ACT_LOG":
      return ret.log;
    case "SCMP_ACT_ERRNO":
      return ret.errno | bounded("errnoRet", errnoRet ?? EPERM, 4095);
    case "SCMP_ACT_TRACE":
      return ret.trace | bounded("errnoRet", errnoRet ?? EPERM, 0xffff);
    case "SCMP_ACT_NOTIFY":
      throw new Failure("unimplemented", `cannot compile seccomp profile: ${action} is not supported`);
    default:
      return action satisfies never;
  }
}

function bounded(what: string, value: number, max: number): number {
  if (Number.isInteger(value) && value >= 0 && value <= max) return value;
  throw new Failure("invalid_argument", `cannot compile seccomp profile: ${what} is ${value}, want 0 to ${max}`);
}

function uint64(value: number | string): bigint {
  const wide = BigInt(value);
  if (wide >= 0n && wide < 1n << 64n) return wide;
  throw new Failure(
    "invalid_argument",
    `cannot compile seccomp profile: argument value ${value} is not a 64-bit number`,
  );
}

function halves(value: bigint): readonly [high: number, low: number] {
  return [Number(value >> 32n), Number(value & 0xffff_ffffn)];
}
