import { Failure } from "../../src/core/errors.ts";
import type { SpecProcess } from "../../src/core/spec.ts";
import { kernelRead } from "../../src/linux/kernel_read.ts";
import type { Kernel } from "../../src/linux/kernel.ts";
import { holds, type OwnIds, ownIds } from "../../src/linux/own_ids.ts";
import { capability, type CapabilitySet, has, namesOf } from "./capabilities.ts";
import { hasOwnUsers, type Namespaces } from "./namespaces.ts";
import type { Identity } from "./identity.ts";
import { type Rlimit, unlimited } from "./rlimits.ts";

/** What this process may give to a container: nobody gets more from it than it has. */
export class Rights {
  /** The highest capability that the kernel has. */
  readonly lastCapability: number;
  readonly ids: OwnIds;
  readonly #kernel: Kernel;
  readonly #permitted: CapabilitySet;
  readonly #bounding: CapabilitySet;
  readonly #oomScoreAdj: number;
  readonly #hardLimits = new Map<number, bigint>();

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
    this.ids = ownIds(kernel);
    const status = kernelRead(kernel, "/proc/self/status", 16384);
    const set = (name: string) => BigInt(`0x${new RegExp(`^${name}:\\s*([0-9a-f]+)$`, "m").exec(status)?.[1] ?? "0"}`);
    this.#permitted = set("CapPrm");
    this.#bounding = set("CapBnd");
    this.lastCapability = Number(kernelRead(kernel, "/proc/sys/kernel/cap_last_cap"));
    this.#oomScoreAdj = Number(kernelRead(kernel, "/proc/self/oom_score_adj"));
  }

  /** Whether this process has a right that only some have. */
  get raisesLimits(): boolean {
    return has(this.#permitted, capability("CAP_SYS_RESOURCE"));
  }

  /** @throws permission_denied, naming what a container asks for beyond what this process has. */
  check(process: SpecProcess, identity: Identity, rlimits: readonly Rlimit[], namespaces: Namespaces): void {
    // In a user namespace of its own a process has all capabilities, over what belongs to that namespace.
    if (!hasOwnUsers(namespaces)) {
      this.#checkCapabilities(identity);
      this.#checkIds(identity);
    }
    if (this.raisesLimits) return;
    for (const limit of rlimits) this.#checkRlimit(limit);
    const score = process.oomScoreAdj;
    if (score !== undefined && score !== null && score < this.#oomScoreAdj) {
      throw denied(
        "process.oomScoreAdj",
        `cannot lower oom_score_adj to ${score}: the daemon has ${this.#oomScoreAdj} and no CAP_SYS_RESOURCE`,
      );
    }
  }

  #checkCapabilities({ bounding, permitted, effective, inheritable, ambient }: Identity): void {
    const asked = permitted | effective | inheritable | ambient;
    const missing = namesOf((bounding & ~this.#bounding) | (asked & ~this.#permitted));
    if (missing.length > 0) {
      throw denied("process.capabilities", `cannot give ${missing.join(", ")}: the daemon does not have it itself`);
    }
  }

  #checkIds({ uid, gid, groups }: Identity): void {
    if (this.ids.all) return;
    if (!holds(this.ids.uids, uid)) throw denied("process.user.uid", `cannot become user ${uid}: ${notHeld}`);
    for (const id of [gid, ...groups]) {
      if (!holds(this.ids.gids, id)) throw denied("process.user.gid", `cannot become group ${id}: ${notHeld}`);
    }
    if (groups.length > 0 && !this.ids.setsGroups) {
      throw denied("process.user.additionalGids", "cannot set additional groups: the user namespace denies setgroups");
    }
  }

  #checkRlimit({ type, resource, hard }: Rlimit): void {
    const own = this.#hardLimit(resource);
    if (hard > own) {
      const has = own === unlimited ? "unlimited" : String(own);
      throw denied(
        "process.rlimits",
        `cannot raise ${type} to ${hard}: the hard limit of Mayfly's own process is ${has}: ask for no more, or give it CAP_SYS_RESOURCE`,
      );
    }
  }

  #hardLimit(resource: number): bigint {
    let limit = this.#hardLimits.get(resource);
    if (limit === undefined) {
      const results = this.#kernel.run([{
        syscall: "prlimit64",
        args: [0, resource, 0, { out: "limits", size: 16 }],
        why: "read the daemon's own resource limits",
      }]);
      const bytes = results.bytes("limits");
      limit = new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(8, true);
      this.#hardLimits.set(resource, limit);
    }
    return limit;
  }
}

const notHeld = "it is not in the daemon's user namespace";

function denied(field: string, text: string): Failure {
  return new Failure("permission_denied", text, { details: { field } });
}
