import { FunctionInputSchema } from "../core/function.ts";
import { Failure } from "../core/errors.ts";
import type { Spec, SpecMount, SpecUser } from "../core/spec.ts";
import { detectLayout } from "../linux/cgroup/mod.ts";
import type { Kernel } from "../linux/kernel.ts";
import { holds, type OwnIds, ownIds } from "../linux/own_ids.ts";
import type { SpecSettings } from "./spec.ts";

/** What this process has to give to containers. Root has all of it, an ordinary user what is the user's own. */
export interface Means {
  readonly ids: OwnIds;
  /** Which limits can be kept. */
  readonly limits: ReadonlySet<"memoryBytes" | "cpus" | "pids">;
}

const limits = [["memoryBytes", "memory"], ["cpus", "cpu"], ["pids", "pids"]] as const;

export function meansOf(kernel: Kernel): Means {
  const ids = ownIds(kernel);
  // What root lacks is for root to mend: it is told.
  const has = (controller: string) => ids.all || detectLayout(kernel).find(controller) !== undefined;
  return { ids, limits: new Set(limits.filter(([, controller]) => has(controller)).map(([name]) => name)) };
}

/**
 * Leaves out the limits that a function has when nobody asks for one, where none can be kept. Others are refused by the
 * runtime, by name.
 */
export function settingsWithin<Settings extends SpecSettings>(settings: Settings, means: Means): Settings {
  const dropped = limits.filter(([name]) => !means.limits.has(name));
  if (dropped.length === 0) return settings;
  const { memoryBytes, cpus, pids } = FunctionInputSchema.entries;
  const defaults = { memoryBytes: memoryBytes.default, cpus: cpus.default, pids: pids.default } as const;
  const none = dropped.filter(([name]) => settings[name] === defaults[name]).map(([name]) =>
    [name, undefined] as const
  );
  return { ...settings, ...Object.fromEntries(none) };
}

/**
 * Makes a configuration of the system's defaults one that an ordinary user's process can meet; root's is left as it is.
 * @throws invalid_argument for a user that is not to be had.
 */
export function specWithin(spec: Spec, means: Means): Spec {
  const { ids } = means;
  if (ids.all) return spec;
  const ownNetwork = spec.linux.namespaces?.some(({ type, path }) => type === "network" && !path) === true;
  return {
    ...spec,
    process: { ...spec.process, user: userWithin(spec.process.user, means) },
    mounts: spec.mounts?.map((mount) =>
      mount.type === "sysfs" && !ownNetwork
        ? boundSys(mount)
        : mount.type === "devpts"
        ? ownTerminals(mount, ids)
        : mount
    ),
  };
}

/** Groups that are not to be had are left out, as those of an image's files are. @throws invalid_argument for a user. */
export function userWithin(user: SpecUser, { ids }: Means): SpecUser {
  if (ids.all) return user;
  const { uid = 0, gid = 0, additionalGids } = user;
  if (!holds(ids.uids, uid) || !holds(ids.gids, gid)) {
    throw new Failure(
      "invalid_argument",
      `cannot run as ${uid}:${gid}: the daemon, which an ordinary user runs, has no such ids: want a line for the user ` +
        "in /etc/subuid and /etc/subgid, and newuidmap (Debian: uidmap)",
      { details: { field: "user" } },
    );
  }
  return {
    ...user,
    additionalGids: ids.setsGroups ? additionalGids?.filter((group) => holds(ids.gids, group)) : [],
  };
}

/** Only the owner of a network sees it in a sysfs of its own. */
function boundSys({ destination, options = [] }: SpecMount): SpecMount {
  return { destination, type: "bind", source: "/sys", options: ["rbind", ...options, "rro"] };
}

/** The group of terminals may be one that is not there. */
function ownTerminals(mount: SpecMount, { gids }: OwnIds): SpecMount {
  const options = mount.options?.filter((option) => !option.startsWith("gid=") || holds(gids, Number(option.slice(4))));
  return { ...mount, options };
}
