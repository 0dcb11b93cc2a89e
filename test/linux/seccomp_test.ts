import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { describe, it } from "node:test";
import { codeOf } from "../../src/core/errors.ts";
import type { Seccomp } from "../../src/core/spec.ts";
import { compileSeccomp, letsPass, seccompFlags } from "../../src/linux/seccomp.ts";
import { type SyscallName, syscallTable } from "../../src/linux/syscalls.ts";
import { defaultCapabilities } from "../../src/tasks/capabilities.ts";
import { defaultSeccomp } from "../../src/tasks/seccomp_profile.ts";
import { BpfMachine } from "./bpf_machine.ts";
import { libseccompCompile, libseccompMissing } from "./libseccomp.ts";

type Rule = NonNullable<Seccomp["syscalls"]>[number];
type Condition = NonNullable<Rule["args"]>[number];

const x86_64 = 0xc000003e;
const i386 = 0x40000003;
const allow = 0x7fff0000;
const eperm = 0x00050001;
const enosys = 0x00050026;
const killProcess = 0x80000000;
const table = syscallTable("x64");

const profile = (...syscalls: Rule[]): Seccomp => ({ defaultAction: "SCMP_ACT_ERRNO", syscalls });
const rule = (name: SyscallName, action: Rule["action"], ...args: Condition[]): Rule => ({
  names: [name],
  action,
  args,
});
const compile = (seccomp: Seccomp) => new BpfMachine(compileSeccomp(seccomp, "x64"));
const decide = (machine: BpfMachine, name: SyscallName, ...args: bigint[]) =>
  machine.run({ number: table[name], arch: x86_64, args });

describe("compileSeccomp() compares 64-bit arguments", () => {
  const big = "18446744073709551615";
  const wide = 2n ** 32n;
  const cases: readonly [op: Condition["op"], value: number | string, valueTwo: number, yes: bigint[], no: bigint[]][] =
    [
      ["SCMP_CMP_EQ", 5, 0, [5n], [4n, 6n, 5n + wide, 5n << 32n]],
      ["SCMP_CMP_NE", 5, 0, [0n, 4n, 6n, 5n + wide, 5n << 32n], [5n]],
      ["SCMP_CMP_LT", 5, 0, [0n, 4n], [5n, 6n, wide, 2n ** 64n - 1n]],
      ["SCMP_CMP_LE", 5, 0, [0n, 5n], [6n, wide, 2n ** 64n - 1n]],
      ["SCMP_CMP_GT", 5, 0, [6n, wide, 2n ** 64n - 1n], [0n, 5n]],
      ["SCMP_CMP_GE", 5, 0, [5n, 6n, wide, 2n ** 64n - 1n], [0n, 4n]],
      ["SCMP_CMP_GT", 2 ** 32 + 5, 0, [wide + 6n, 2n * wide], [6n, wide + 5n, wide]],
      ["SCMP_CMP_LT", 2 ** 32 + 5, 0, [6n, wide, wide + 4n], [wide + 5n, 2n * wide]],
      ["SCMP_CMP_EQ", big, 0, [2n ** 64n - 1n], [2n ** 32n - 1n, 2n ** 63n]],
      ["SCMP_CMP_GE", "9223372036854775808", 0, [2n ** 63n, 2n ** 64n - 1n], [2n ** 63n - 1n]],
      ["SCMP_CMP_MASKED_EQ", 0b110, 0b010, [0b010n, 0b011n, wide + 2n], [0b110n, 0b100n, 0n]],
      ["SCMP_CMP_MASKED_EQ", 2 ** 32, 2 ** 32, [wide, wide + 7n, 3n * wide], [0n, 7n, 2n * wide]],
      ["SCMP_CMP_MASKED_EQ", 0, 0, [0n, 7n, wide], []],
      ["SCMP_CMP_MASKED_EQ", 1, 2, [], [0n, 1n, 2n, 3n]],
    ];
  for (const [op, value, valueTwo, yes, no] of cases) {
    it(`${op} ${value} ${valueTwo}`, () => {
      const machine = compile(profile(rule("prctl", "SCMP_ACT_ALLOW", { index: 3, value, valueTwo, op })));
      for (const argument of yes) assert.equal(decide(machine, "prctl", 0n, 0n, 0n, argument), allow, `${argument}`);
      for (const argument of no) assert.equal(decide(machine, "prctl", 0n, 0n, 0n, argument), eperm, `${argument}`);
    });
  }
});

describe("compileSeccomp() combines rules", () => {
  const is = (index: number, value: number): Condition => ({ index, value, op: "SCMP_CMP_EQ" });

  it("wants every condition of a rule", () => {
    const machine = compile(profile(rule("socket", "SCMP_ACT_ALLOW", is(0, 1), is(1, 2))));
    assert.equal(decide(machine, "socket", 1n, 2n), allow);
    assert.equal(decide(machine, "socket", 1n, 3n), eperm);
    assert.equal(decide(machine, "socket", 0n, 2n), eperm);
  });

  it("takes any rule of a system call, the first that holds", () => {
    const machine = compile(profile(
      { ...rule("socket", "SCMP_ACT_ERRNO", is(0, 1)), errnoRet: 97 },
      rule("socket", "SCMP_ACT_ALLOW", { index: 0, value: 3, op: "SCMP_CMP_LT" }),
    ));
    assert.equal(decide(machine, "socket", 1n), 0x00050000 | 97);
    assert.equal(decide(machine, "socket", 2n), allow);
    assert.equal(decide(machine, "socket", 3n), eperm);
  });

  it("takes two conditions on one argument for alternatives, as runc does", () => {
    const machine = compile(profile(rule("socket", "SCMP_ACT_ALLOW", is(0, 1), is(0, 2))));
    for (const family of [1n, 2n]) assert.equal(decide(machine, "socket", family), allow);
    assert.equal(decide(machine, "socket", 3n), eperm);
  });

  it("lets a rule without conditions decide, and leaves out what says the default", () => {
    const machine = compile(profile(
      rule("socket", "SCMP_ACT_ERRNO"),
      rule("socket", "SCMP_ACT_KILL", is(0, 1)),
      rule("socket", "SCMP_ACT_ALLOW"),
      rule("socket", "SCMP_ACT_TRAP", is(0, 2)),
    ));
    for (const family of [0n, 1n, 2n]) assert.equal(decide(machine, "socket", family), allow);
  });

  it("ignores names that the processor does not have", () => {
    const machine = compile(profile({ names: ["read", "socketcall", "constructor"], action: "SCMP_ACT_ALLOW" }));
    assert.equal(decide(machine, "read"), allow);
    assert.equal(machine.run({ number: 1, arch: x86_64 }), enosys);
  });
});

describe("compileSeccomp() returns each action", () => {
  const actions: readonly [action: Rule["action"], errnoRet: number | undefined, value: number][] = [
    ["SCMP_ACT_ALLOW", undefined, allow],
    ["SCMP_ACT_KILL", undefined, 0],
    ["SCMP_ACT_KILL_THREAD", undefined, 0],
    ["SCMP_ACT_KILL_PROCESS", undefined, killProcess],
    ["SCMP_ACT_TRAP", undefined, 0x00030000],
    ["SCMP_ACT_ERRNO", undefined, eperm],
    ["SCMP_ACT_ERRNO", 38, enosys],
    ["SCMP_ACT_TRACE", undefined, 0x7ff00001],
    ["SCMP_ACT_TRACE", 7, 0x7ff00007],
    ["SCMP_ACT_LOG", undefined, 0x7ffc0000],
  ];
  for (const [action, errnoRet, value] of actions) {
    it(`${action} ${errnoRet ?? ""}`, () => {
      const seccomp = {
        defaultAction: "SCMP_ACT_ERRNO",
        defaultErrnoRet: 99,
        syscalls: [{ names: ["read"], action, errnoRet }],
      };
      assert.equal(decide(compile(seccomp as Seccomp), "read"), value);
      assert.equal(
        decide(compile({ defaultAction: action, ...(errnoRet && { defaultErrnoRet: errnoRet }) }), "read"),
        value,
      );
    });
  }

  const refused: readonly [what: string, seccomp: Seccomp, code: string][] = [
    ["SCMP_ACT_NOTIFY", profile(rule("read", "SCMP_ACT_NOTIFY")), "unimplemented"],
    ["an errno past 4095", { defaultAction: "SCMP_ACT_ERRNO", defaultErrnoRet: 4096 }, "invalid_argument"],
    [
      "a value past 64 bits",
      profile(rule("read", "SCMP_ACT_ALLOW", { index: 0, value: "18446744073709551616", op: "SCMP_CMP_EQ" })),
      "invalid_argument",
    ],
    [
      "more than 4096 instructions",
      profile(
        ...Array.from(
          { length: 1500 },
          (_, value) => rule("read", "SCMP_ACT_ALLOW", { index: 0, value, op: "SCMP_CMP_EQ" }),
        ),
      ),
      "resource_exhausted",
    ],
  ];
  for (const [what, seccomp, code] of refused) {
    it(`refuses ${what}`, () => {
      assert.throws(() => compileSeccomp(seccomp, "x64"), (error) => codeOf(error) === code);
    });
  }
});

describe("compileSeccomp() knows the native ABI alone", () => {
  const machine = compile(profile(rule("read", "SCMP_ACT_ALLOW"), rule("openat", "SCMP_ACT_ALLOW")));
  const open = compile({ defaultAction: "SCMP_ACT_ALLOW" });

  it("kills a call by another architecture's table", () => {
    for (const filter of [machine, open]) assert.equal(filter.run({ number: 0, arch: i386 }), killProcess);
  });

  it("answers x32 numbers with ENOSYS", () => {
    for (const filter of [machine, open]) {
      for (const number of [0x40000000, 0x40000000 + 257, 0xffffffff]) {
        assert.equal(filter.run({ number, arch: x86_64 }), enosys);
      }
    }
  });

  it("answers numbers newer than the profile with ENOSYS, unless the default lets them pass", () => {
    assert.equal(machine.run({ number: table.openat - 1, arch: x86_64 }), eperm);
    assert.equal(machine.run({ number: table.openat + 1, arch: x86_64 }), enosys);
    const passing = compile({ defaultAction: "SCMP_ACT_LOG", syscalls: [rule("read", "SCMP_ACT_KILL")] });
    assert.equal(passing.run({ number: 600, arch: x86_64 }), 0x7ffc0000);
  });
});

describe("compileSeccomp() decides as libseccomp", { skip: libseccompMissing() ?? false }, () => {
  const everything = ["CAP_SYS_ADMIN", "CAP_SYS_PTRACE", "CAP_SYS_TIME", "CAP_BPF", ...defaultCapabilities];
  it("on the default profile", () => same(defaultSeccomp(defaultCapabilities)));
  it("on the default profile of an administrator", () => same(defaultSeccomp(everything)));

  const path = "/usr/share/containers/seccomp.json";
  const missing = existsSync(path) ? false : `no ${path}: install golang-github-containers-common`;
  it("on the profile of containers-common", { skip: missing }, () => same(containersCommon(path)));

  // One rule for each call: libseccomp merges several into one tree, and loses some where they overlap.
  for (let seed = 1; seed <= 4; seed++) it(`on random conditions, seed ${seed}`, () => same(randomProfile(seed, 1)));
});

describe("compileSeccomp() decides as its rules read", () => {
  for (let seed = 1; seed <= 4; seed++) {
    it(`on random overlapping rules, seed ${seed}`, () => {
      const seccomp = randomProfile(seed, 4);
      const machine = compile(seccomp);
      for (const name of new Set((seccomp.syscalls ?? []).flatMap(({ names }) => names as SyscallName[]))) {
        const rules = (seccomp.syscalls ?? []).filter(({ names }) => names.includes(name));
        for (const args of samples(rules.flatMap((r) => r.args ?? []))) {
          const first = rules.find((r) => r.args?.length === 0) ??
            rules.find((r) => r.args?.every((condition) => holds(condition, args)));
          const wanted = first === undefined ? 0x0005000d : values[first.action];
          assert.equal(machine.run({ number: table[name], arch: x86_64, args }), wanted, `${name}(${args.join(", ")})`);
        }
      }
    });
  }
});

const values: Partial<Record<Rule["action"], number>> = {
  SCMP_ACT_ALLOW: allow,
  SCMP_ACT_TRAP: 0x00030000,
  SCMP_ACT_LOG: 0x7ffc0000,
};

function holds({ index, op, value, valueTwo = 0 }: Condition, args: readonly bigint[]): boolean {
  const [argument, wanted] = [args[index] ?? 0n, BigInt(value)];
  switch (op) {
    case "SCMP_CMP_NE":
      return argument !== wanted;
    case "SCMP_CMP_LT":
      return argument < wanted;
    case "SCMP_CMP_LE":
      return argument <= wanted;
    case "SCMP_CMP_EQ":
      return argument === wanted;
    case "SCMP_CMP_GE":
      return argument >= wanted;
    case "SCMP_CMP_GT":
      return argument > wanted;
    case "SCMP_CMP_MASKED_EQ":
      return (argument & wanted) === BigInt(valueTwo);
  }
}

/** Compares the decisions over every number, and for arguments around all that the profile mentions. */
function same(seccomp: Seccomp): void {
  const ours = compile(seccomp);
  const theirs = new BpfMachine(libseccompCompile(seccomp));
  const rules = (seccomp.syscalls ?? []).filter(({ names }) => names.some((name) => Object.hasOwn(table, name)));
  const named = rules.flatMap(({ names }) => names.filter((name) => Object.hasOwn(table, name)));
  const highest = Math.max(...named.map((name) => table[name as SyscallName]));
  const names = new Map(Object.entries(table).map(([name, number]) => [number, name]));
  for (let number = 0; number <= 1024; number++) {
    const conditions = rules.filter((r) => r.names.includes(names.get(number) ?? "")).flatMap((r) => r.args ?? []);
    for (const args of samples(conditions)) {
      const query = { number, arch: x86_64, args };
      const wanted = number > highest ? enosys : theirs.run(query);
      assert.equal(ours.run(query), wanted, `${names.get(number) ?? number}(${args.join(", ")})`);
    }
  }
}

/** Tuples of arguments: each condition's edges, alone and together with the others' of the same system call. */
function samples(conditions: readonly Condition[]): bigint[][] {
  let tuples: bigint[][] = [[0n, 0n, 0n, 0n, 0n, 0n]];
  for (const index of new Set(conditions.map((condition) => condition.index))) {
    const values = conditions.filter((condition) => condition.index === index).flatMap(edges);
    tuples = tuples.flatMap((tuple) => [...new Set(values)].map((value) => tuple.with(index, value)));
  }
  return tuples;
}

function edges({ value, valueTwo = 0 }: Condition): bigint[] {
  const [a, b] = [BigInt(value), BigInt(valueTwo)];
  return [0n, a - 1n, a, a + 1n, a + 2n ** 32n, a << 32n, b, b | ~a, 2n ** 64n - 1n].map((n) => BigInt.asUintN(64, n));
}

/** The profile that podman uses, as it is for a container with the default capabilities. */
function containersCommon(path: string): Seccomp {
  type Filter = { readonly caps?: readonly string[]; readonly arches?: readonly string[] };
  type Entry = Rule & { readonly includes?: Filter; readonly excludes?: Filter };
  const { defaultAction, defaultErrnoRet, syscalls } = JSON.parse(readFileSync(path, "utf8")) as
    & Pick<Seccomp, "defaultAction" | "defaultErrnoRet">
    & { readonly syscalls: readonly Entry[] };
  const held = (cap: string) => defaultCapabilities.includes(cap);
  const kept = syscalls.filter(({ includes, excludes }) =>
    (includes?.caps ?? []).every(held) && !(excludes?.caps ?? []).some(held) &&
    (includes?.arches === undefined || includes.arches.includes("amd64"))
  );
  return {
    defaultAction,
    defaultErrnoRet,
    syscalls: kept.map(({ names, action, args, errnoRet }) => ({
      names,
      action,
      args: args ?? [],
      errnoRet: errnoRet ?? 1,
    })),
  };
}

/** @param rulesAtMost how many rules one system call may have. */
function randomProfile(seed: number, rulesAtMost: number): Seccomp {
  let state = seed;
  const random = (below: number) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor(state / 2 ** 32 * below);
  };
  const pick = <T>(items: readonly T[]): T => items[random(items.length)] as T;
  const value = () => pick([0, 1, 40, 255, 0x7e020000, 0xffffffff, 2 ** 32, 2 ** 32 + 1, "18446744073709551615"]);
  const operators = ["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"] as const;
  const condition = (index: number): Condition => {
    const op: Condition["op"] = `SCMP_CMP_${pick(operators)}`;
    const mask = value();
    // Bits outside of the mask could never be met; libseccomp drops them.
    return op === "SCMP_CMP_MASKED_EQ"
      ? { index, op, value: mask, valueTwo: (BigInt(mask) & BigInt(value())).toString() }
      : { index, op, value: mask };
  };
  const syscalls: Rule[] = Object.keys(table).filter(() => random(12) === 0).flatMap((name) => {
    return Array.from({ length: 1 + random(rulesAtMost) }, () => {
      const action = pick(["SCMP_ACT_ALLOW", "SCMP_ACT_TRAP", "SCMP_ACT_LOG"] as const);
      const indexes = [0, 1, 2, 3, 4, 5].filter(() => random(5) === 0).slice(0, 3);
      return { names: [name], action, args: indexes.map(condition) };
    });
  });
  return { defaultAction: "SCMP_ACT_ERRNO", defaultErrnoRet: 13, syscalls };
}

describe("letsPass()", () => {
  const any = rule("read", "SCMP_ACT_ALLOW");
  const some = rule("read", "SCMP_ACT_ALLOW", { index: 0, value: 3, op: "SCMP_CMP_EQ" });
  const cases: readonly [what: string, seccomp: Seccomp, passes: boolean][] = [
    ["what is allowed", profile(any), true],
    ["not what is allowed with some arguments", profile(some), false],
    ["not what is not named", profile(rule("write", "SCMP_ACT_ALLOW")), false],
    ["all of them or none", profile(any, rule("write", "SCMP_ACT_LOG")), false],
    ["what nothing is said of by default", { defaultAction: "SCMP_ACT_ALLOW" }, true],
    ["not what is denied", { defaultAction: "SCMP_ACT_ALLOW", syscalls: [rule("read", "SCMP_ACT_ERRNO")] }, false],
  ];
  for (const [what, seccomp, passes] of cases) {
    const names = what.startsWith("all") ? ["read", "write"] as const : ["read"] as const;
    it(what, () => assert.equal(letsPass(seccomp, names, "x64"), passes));
  }
});

describe("seccompFlags()", () => {
  it("translates names to bits", () => {
    assert.equal(seccompFlags({ defaultAction: "SCMP_ACT_ALLOW" }), 0);
    const flags = ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"] as const;
    assert.equal(seccompFlags({ defaultAction: "SCMP_ACT_ALLOW", flags }), 6);
  });

  it("refuses listeners", () => {
    const refusedAs = (code: string) => (error: unknown) => codeOf(error) === code;
    assert.throws(
      () => seccompFlags({ defaultAction: "SCMP_ACT_ALLOW", listenerPath: "/x" }),
      refusedAs("unimplemented"),
    );
  });
});
