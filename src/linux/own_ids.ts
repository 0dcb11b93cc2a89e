import { kernelRead } from "./kernel_read.ts";
import type { Kernel } from "./kernel.ts";

/** Ids that are known here: `count` of them from `first` on. */
interface Known {
  readonly first: number;
  readonly count: number;
}

/** Which users and groups this process's user namespace holds. */
export interface OwnIds {
  /** Whether it is the machine's own, where root is root. */
  readonly all: boolean;
  readonly uids: readonly Known[];
  readonly gids: readonly Known[];
  /** Whether a process may set and leave groups, see user_namespaces(7). */
  readonly setsGroups: boolean;
}

/** @see https://man7.org/linux/man-pages/man7/user_namespaces.7.html */
export function ownIds(kernel: Kernel): OwnIds {
  const uids = parseMap(kernelRead(kernel, "/proc/self/uid_map"));
  const gids = parseMap(kernelRead(kernel, "/proc/self/gid_map"));
  const all = uids.length === 1 && uids[0]?.outside === 0 && uids[0].count === 0xffff_ffff;
  return { all, uids, gids, setsGroups: all || kernelRead(kernel, "/proc/self/setgroups").trim() === "allow" };
}

export function holds(known: readonly Known[], id: number): boolean {
  return known.some(({ first, count }) => id >= first && id - first < count);
}

function parseMap(text: string): readonly (Known & { readonly outside: number })[] {
  return text.split("\n").filter((line) => line !== "").map((line) => {
    const [first = 0, outside = 0, count = 0] = line.trim().split(/\s+/).map(Number);
    return { first, outside, count };
  });
}
