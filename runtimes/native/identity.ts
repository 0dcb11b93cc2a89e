import type { SpecProcess } from "../../src/core/spec.ts";
import * as f from "../../src/linux/flags.ts";
import type { Operation } from "../../src/linux/program.ts";
import { type CapabilitySet, capabilitySet, has } from "./capabilities.ts";

/** Who the container's process is. */
export interface Identity {
  readonly uid: number;
  readonly gid: number;
  readonly groups: readonly number[];
  readonly umask: number;
  readonly bounding: CapabilitySet;
  readonly permitted: CapabilitySet;
  readonly effective: CapabilitySet;
  readonly inheritable: CapabilitySet;
  readonly ambient: CapabilitySet;
}

/**
 * Reads `process.user` and `process.capabilities`. Without the latter, the process has none.
 * @throws invalid_argument for a name that is no capability.
 */
export function identityOf({ user, capabilities }: SpecProcess): Identity {
  const set = (name: "bounding" | "permitted" | "effective" | "inheritable" | "ambient") =>
    capabilitySet(capabilities?.[name], `process.capabilities.${name}`);
  return {
    uid: user.uid,
    gid: user.gid,
    groups: user.additionalGids ?? [],
    umask: user.umask ?? 0o022,
    bounding: set("bounding"),
    permitted: set("permitted"),
    effective: set("effective"),
    inheritable: set("inheritable"),
    ambient: set("ambient"),
  };
}

/** `_LINUX_CAPABILITY_VERSION_3`, with pid 0 for the caller. */
const version3 = 0x2008_0522;

/**
 * Becomes the container's user. The bounding set goes first, since it takes a capability to change it; permitted
 * capabilities are kept over the change of user, to be set exactly afterwards.
 * @param lastCapability the highest that the kernel has, named here or not.
 * @param setsGroups false where the user namespace denies it to everybody: the daemon's groups stay then.
 */
export function* assumeIdentity(
  identity: Identity,
  { lastCapability, setsGroups }: { readonly lastCapability: number; readonly setsGroups: boolean },
): Generator<Operation> {
  const { uid, gid, groups, permitted, effective, inheritable, ambient } = identity;
  for (let number = 0; number <= lastCapability; number++) {
    if (has(identity.bounding, number)) continue;
    const why = `drop capability ${number} from the bounding set`;
    yield { syscall: "prctl", args: [f.PR_CAPBSET_DROP, number, 0, 0, 0], why };
  }
  yield { syscall: "prctl", args: [f.PR_SET_KEEPCAPS, 1, 0, 0, 0], why: "keep capabilities over the change of user" };
  if (setsGroups) {
    yield { syscall: "setgroups", args: [groups.length, int32s(groups)], why: "set additional groups" };
  }
  yield { syscall: "setresgid", args: [gid, gid, gid], why: `become group ${gid}` };
  yield { syscall: "setresuid", args: [uid, uid, uid], why: `become user ${uid}` };
  yield {
    syscall: "prctl",
    args: [f.PR_SET_KEEPCAPS, 0, 0, 0, 0],
    why: "drop capabilities at the next change of user",
  };
  const [low, high] = [(set: bigint) => Number(set & 0xffff_ffffn), (set: bigint) => Number(set >> 32n)];
  yield {
    syscall: "capset",
    args: [
      int32s([version3, 0]),
      int32s([low(effective), low(permitted), low(inheritable), high(effective), high(permitted), high(inheritable)]),
    ],
    why: "set capabilities",
  };
  for (let number = 0; number <= lastCapability; number++) {
    if (!has(ambient, number)) continue;
    yield {
      syscall: "prctl",
      args: [f.PR_CAP_AMBIENT, f.PR_CAP_AMBIENT_RAISE, number, 0, 0],
      why: `raise ambient capability ${number}`,
    };
  }
  yield { syscall: "umask", args: [identity.umask], why: "set the umask" };
}

function int32s(values: readonly number[]): Uint8Array {
  return new Uint8Array(Uint32Array.from(values).buffer);
}
