import { Failure } from "../../src/core/errors.ts";

/** Every capability, in the order of their numbers. @see https://man7.org/linux/man-pages/man7/capabilities.7.html */
export const capabilityNames = [
  "CAP_CHOWN",
  "CAP_DAC_OVERRIDE",
  "CAP_DAC_READ_SEARCH",
  "CAP_FOWNER",
  "CAP_FSETID",
  "CAP_KILL",
  "CAP_SETGID",
  "CAP_SETUID",
  "CAP_SETPCAP",
  "CAP_LINUX_IMMUTABLE",
  "CAP_NET_BIND_SERVICE",
  "CAP_NET_BROADCAST",
  "CAP_NET_ADMIN",
  "CAP_NET_RAW",
  "CAP_IPC_LOCK",
  "CAP_IPC_OWNER",
  "CAP_SYS_MODULE",
  "CAP_SYS_RAWIO",
  "CAP_SYS_CHROOT",
  "CAP_SYS_PTRACE",
  "CAP_SYS_PACCT",
  "CAP_SYS_ADMIN",
  "CAP_SYS_BOOT",
  "CAP_SYS_NICE",
  "CAP_SYS_RESOURCE",
  "CAP_SYS_TIME",
  "CAP_SYS_TTY_CONFIG",
  "CAP_MKNOD",
  "CAP_LEASE",
  "CAP_AUDIT_WRITE",
  "CAP_AUDIT_CONTROL",
  "CAP_SETFCAP",
  "CAP_MAC_OVERRIDE",
  "CAP_MAC_ADMIN",
  "CAP_SYSLOG",
  "CAP_WAKE_ALARM",
  "CAP_BLOCK_SUSPEND",
  "CAP_AUDIT_READ",
  "CAP_PERFMON",
  "CAP_BPF",
  "CAP_CHECKPOINT_RESTORE",
] as const;
export type CapabilityName = (typeof capabilityNames)[number];

const numbers: ReadonlyMap<string, number> = new Map(capabilityNames.map((name, index) => [name, index]));

/** The number of a capability. */
export function capability(name: CapabilityName): number {
  return capabilityNames.indexOf(name);
}

/** A set of capabilities as the kernel keeps it: bit N is capability N. */
export type CapabilitySet = bigint;

/** Tells whether a set holds a capability. */
export function has(set: CapabilitySet, number: number): boolean {
  return (set >> BigInt(number) & 1n) === 1n;
}

/** Names what a set holds. */
export function namesOf(set: CapabilitySet): string[] {
  return capabilityNames.filter((_, number) => has(set, number));
}

/** @throws invalid_argument for a name that is no capability. */
export function capabilitySet(list: readonly string[] | undefined, field: string): CapabilitySet {
  let set = 0n;
  for (const name of list ?? []) {
    const number = numbers.get(name);
    if (number === undefined) {
      throw new Failure("invalid_argument", `cannot use ${field}: ${JSON.stringify(name)} is no capability`, {
        details: { field, name },
      });
    }
    set |= 1n << BigInt(number);
  }
  return set;
}
