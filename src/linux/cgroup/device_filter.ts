import { Failure } from "../../core/errors.ts";
import { errnoName, errnoText } from "../errno.ts";
import * as f from "../flags.ts";
import type { Kernel } from "../kernel.ts";
import type { DeviceRule } from "./devices.ts";

/*
 * Version 2 of cgroups asks an eBPF program about each use of a device.
 *
 * @see https://docs.kernel.org/admin-guide/cgroup-v2.html#device-controller
 * @see https://www.rfc-editor.org/rfc/rfc9669 (the instructions)
 */

/** `struct bpf_cgroup_dev_ctx`: type and access in one word, then the device's numbers. */
const context = { access: 0, major: 4, minor: 8 } as const;
const types = { b: 1, c: 2 } as const;
const accesses: Readonly<Record<string, number>> = { m: 1, r: 2, w: 4 };
const everyAccess = 7;

const [result, pointer, type, access, major, minor] = [0, 1, 2, 3, 4, 5] as const;
const scratch = 6;

interface Instruction {
  readonly code: number;
  readonly to: number;
  readonly from?: number;
  /** Of a load in bytes, of a jump in instructions. */
  readonly offset?: number;
  readonly value?: number;
}

const load = (to: number, offset: number): Instruction => ({ code: 0x61, to, from: pointer, offset });
const move = (to: number, from: number): Instruction => ({ code: 0xbf, to, from });
const set = (to: number, value: number): Instruction => ({ code: 0xb7, to, value });
const and = (to: number, value: number): Instruction => ({ code: 0x57, to, value });
const shiftRight = (to: number, value: number): Instruction => ({ code: 0x77, to, value });
const unless = (to: number, value: number, offset: number): Instruction => ({ code: 0x55, to, value, offset });
const unlessSame = (to: number, from: number, offset: number): Instruction => ({ code: 0x5d, to, from, offset });
const when = (to: number, value: number, offset: number): Instruction => ({ code: 0x15, to, value, offset });
const exit: Instruction = { code: 0x95, to: 0 };

/**
 * Compiles rules to a program for `BPF_PROG_TYPE_CGROUP_DEVICE`. The last rule that matches decides, so that it is asked
 * first; where none does, the device may be used.
 */
export function compileDeviceRules(rules: readonly DeviceRule[]): Uint8Array<ArrayBuffer> {
  const program: Instruction[] = [
    load(type, context.access),
    move(access, type),
    and(type, 0xffff),
    shiftRight(access, 16),
    load(major, context.major),
    load(minor, context.minor),
  ];
  // Nothing may come after a rule about everything: the kernel refuses what is never reached.
  const last = rules.findLastIndex(({ type, access }) => type === "a" && access === "rwm");
  for (const rule of rules.slice(Math.max(last, 0)).toReversed()) program.push(...compileRule(rule));
  return encode(last === -1 ? [...program, set(result, 1), exit] : program);
}

function compileRule(rule: DeviceRule): readonly Instruction[] {
  const body: Instruction[] = [];
  // Jumps lead behind the rule; how far that is, is known when it is complete.
  if (rule.type !== "a") body.push(unless(type, types[rule.type], 0));
  const mask = [...rule.access].reduce((bits, letter) => bits | (accesses[letter] ?? 0), 0);
  if (mask !== everyAccess) {
    body.push(move(scratch, access), and(scratch, mask));
    // To be allowed, all that is wanted has to be in the rule; to be denied, any of it.
    body.push(rule.allow ? unlessSame(scratch, access, 0) : when(scratch, 0, 0));
  }
  if (rule.major !== undefined) body.push(unless(major, rule.major, 0));
  if (rule.minor !== undefined) body.push(unless(minor, rule.minor, 0));
  body.push(set(result, rule.allow ? 1 : 0), exit);
  return body.map((each, index) => each.offset === 0 ? { ...each, offset: body.length - index - 1 } : each);
}

function encode(program: readonly Instruction[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(program.length * 8);
  const view = new DataView(bytes.buffer);
  program.forEach(({ code, to, from = 0, offset = 0, value = 0 }, index) => {
    view.setUint8(index * 8, code);
    view.setUint8(index * 8 + 1, to | (from << 4));
    view.setInt16(index * 8 + 2, offset, true);
    view.setInt32(index * 8 + 4, value, true);
  });
  return bytes;
}

const BPF_PROG_LOAD = 5;
const BPF_PROG_ATTACH = 8;
const BPF_PROG_DETACH = 9;
const BPF_PROG_GET_FD_BY_ID = 13;
const BPF_PROG_QUERY = 16;
const BPF_PROG_TYPE_CGROUP_DEVICE = 15n;
const BPF_CGROUP_DEVICE = 6n;
const BPF_F_ALLOW_MULTI = 2n;
const BPF_F_REPLACE = 4n;

/** How many programs of one cgroup are looked at: the kernel takes 64. */
const mostPrograms = 64;

/** Loads a program. @returns its descriptor, for `attachDeviceFilter`. @throws failed_precondition where it is refused. */
export function loadDeviceFilter(kernel: Kernel, rules: readonly DeviceRule[]): number {
  const program = compileDeviceRules(rules);
  const attributes = [BPF_PROG_TYPE_CGROUP_DEVICE | BigInt(program.length / 8) << 32n, program, "Apache-2.0", 0, 0, 0];
  const fd = kernel.attempt("bpf", BPF_PROG_LOAD, attributes, attributes.length * 8);
  if (fd < 0) throw refused("load", fd);
  return fd;
}

/**
 * Puts a program on a cgroup of version 2, beside those of the cgroups above it: all have to allow a device.
 * @param replaced the program whose place it takes, at once: none where the cgroup has none.
 */
export function attachDeviceFilter(kernel: Kernel, folder: string, program: number, replaced?: number): void {
  using cgroup = open(kernel, folder);
  const flags = BPF_F_ALLOW_MULTI | (replaced === undefined ? 0n : BPF_F_REPLACE);
  const attributes = [BigInt(cgroup.fd) | BigInt(program) << 32n, BPF_CGROUP_DEVICE | flags << 32n, replaced ?? 0];
  const attached = kernel.attempt("bpf", BPF_PROG_ATTACH, attributes, attributes.length * 8);
  if (attached < 0) throw refused("attach", attached);
}

/** Takes a program off a cgroup, whose devices are those of the cgroups above it then. */
export function detachDeviceFilter(kernel: Kernel, folder: string, program: number): void {
  using cgroup = open(kernel, folder);
  const attributes = [BigInt(cgroup.fd) | BigInt(program) << 32n, BPF_CGROUP_DEVICE];
  const detached = kernel.attempt("bpf", BPF_PROG_DETACH, attributes, attributes.length * 8);
  if (detached < 0) throw refused("take off", detached);
}

/** The programs on a cgroup itself, as descriptors: the caller's to close. */
export function attachedDeviceFilters(kernel: Kernel, folder: string): readonly number[] {
  using cgroup = open(kernel, folder);
  const ids = { out: "ids", size: mostPrograms * 4, initial: new Uint8Array(mostPrograms * 4) };
  // The target and the kind, no flags, where the ids go, and how many.
  const attributes = [BigInt(cgroup.fd) | BPF_CGROUP_DEVICE << 32n, 0, ids, mostPrograms];
  const args = [BPF_PROG_QUERY, attributes, attributes.length * 8];
  const why = "look for the device rules of a cgroup";
  const results = kernel.run([{ syscall: "bpf", args, store: "result", why, onError: "ignore" }]);
  if (results.get("result") < 0) throw refused("look for", results.get("result"));
  const programs: number[] = [];
  for (const id of new Uint32Array(results.bytes("ids").buffer)) {
    if (id === 0) continue;
    const fd = kernel.attempt("bpf", BPF_PROG_GET_FD_BY_ID, [id, 0], 16);
    if (fd >= 0) programs.push(fd);
    else {
      for (const each of programs) kernel.attempt("close", each);
      throw refused("look for", fd);
    }
  }
  return programs;
}

function open(kernel: Kernel, folder: string): Disposable & { readonly fd: number } {
  const fd = kernel.call("openat", f.AT_FDCWD, folder, f.O_RDONLY | f.O_DIRECTORY | f.O_CLOEXEC, 0);
  return { fd, [Symbol.dispose]: () => void kernel.attempt("close", fd) };
}

function refused(action: string, code: number): Failure {
  return new Failure(
    "failed_precondition",
    `cannot ${action} the device rules of linux.resources.devices: ${errnoText(-code)}: ` +
      "the kernel needs CONFIG_CGROUP_BPF, and the daemon CAP_BPF or CAP_SYS_ADMIN",
    { syscall: "bpf", errno: errnoName(-code), details: { field: "linux.resources.devices" } },
  );
}
