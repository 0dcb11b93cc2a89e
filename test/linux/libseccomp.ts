import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Seccomp } from "../../src/core/spec.ts";
import { type SyscallName, syscallTable } from "../../src/linux/syscalls.ts";

/** Reads a profile with numbers in place of names from standard input, and writes libseccomp's program. */
const compiler = `
import errno, json, sys, seccomp
profile = json.load(sys.stdin)
simple = {"ALLOW": seccomp.ALLOW, "KILL": seccomp.KILL, "KILL_THREAD": seccomp.KILL,
          "KILL_PROCESS": seccomp.KILL_PROCESS, "TRAP": seccomp.TRAP, "LOG": seccomp.LOG}
def action(name, data):
    name = name[len("SCMP_ACT_"):]
    if name == "ERRNO": return seccomp.ERRNO(data)
    if name == "TRACE": return seccomp.TRACE(data)
    return simple[name]
default = action(profile["defaultAction"], profile.get("defaultErrnoRet", 1))
out = seccomp.SyscallFilter(default)
def argument(c):
    op = getattr(seccomp, c["op"][len("SCMP_CMP_"):])
    if c["op"] == "SCMP_CMP_MASKED_EQ": return seccomp.Arg(c["index"], op, int(c["value"]), int(c.get("valueTwo", 0)))
    return seccomp.Arg(c["index"], op, int(c["value"]))
for rule in profile["syscalls"]:
    wanted = action(rule["action"], rule.get("errnoRet", 1))
    if wanted == default: continue
    args = rule.get("args", [])
    same = len({c["index"] for c in args}) != len(args)
    for number in rule["numbers"]:
        for group in [[c] for c in args] if same else [args]:
            out.add_rule(wanted, number, *map(argument, group))
with open(sys.argv[1], "wb") as file: out.export_bpf(file)
`;

const python = "/usr/bin/python3";

/** Why libseccomp's own compiler cannot be asked here; undefined where it can. */
export function libseccompMissing(): string | undefined {
  try {
    execFileSync(python, ["-c", "import seccomp"], { stdio: "ignore" });
    return undefined;
  } catch {
    return `${python} cannot import seccomp: install python3-seccomp`;
  }
}

/** Compiles a profile for x86-64 as runc would, with libseccomp. */
export function libseccompCompile(profile: Seccomp): Uint8Array {
  const folder = mkdtempSync(join(tmpdir(), "mayfly-seccomp-"));
  try {
    const table = syscallTable("x64");
    const syscalls = (profile.syscalls ?? []).map((rule) => ({
      ...rule,
      numbers: rule.names.filter((name) => Object.hasOwn(table, name)).map((name) => table[name as SyscallName]),
    }));
    const path = join(folder, "program");
    execFileSync(python, ["-c", compiler, path], { input: JSON.stringify({ ...profile, syscalls }) });
    return new Uint8Array(readFileSync(path));
  } finally {
    rmSync(folder, { recursive: true });
  }
}
