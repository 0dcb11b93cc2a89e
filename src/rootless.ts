/** How the command of a user who is not root becomes root of a user namespace. */
import { readFileSync, readlinkSync } from "node:fs";
import { userInfo } from "node:os";
import process from "node:process";
import { Failure } from "./core/errors.ts";
import type { Host } from "./core/host.ts";
import { parseSubordinateIds } from "./core/subordinate_ids.ts";
import { becomeRoot, type OtherIds, whyNoRoot } from "./linux/become_root.ts";
import { delegatedLayout } from "./linux/cgroup/mod.ts";
import { findProgram } from "./linux/find_program.ts";
import { Kernel } from "./linux/kernel.ts";
import type { OrdinaryUser } from "./cli/command.ts";
import { rootlessMark } from "./cli/user.ts";

/**
 * Starts this process's command again as root of a user namespace, where the user is not root.
 * @param options.beside a process whose user namespace that is to be. Default: a new one.
 * @throws failed_precondition where none can be had.
 */
export async function needRoot(
  host: Host,
  { beside }: { readonly beside?: number | undefined } = {},
): Promise<void> {
  const uid = process.geteuid?.();
  const gid = process.getegid?.();
  if (uid === undefined || gid === undefined || uid === 0) return;
  const kernel = new Kernel(host);
  const lacks = whyNoRoot(kernel);
  if (lacks !== undefined) {
    throw new Failure(
      "failed_precondition",
      `cannot make containers as uid ${uid}: ${lacks.reason}: ${lacks.cure}; or use sudo`,
    );
  }
  const args = readFileSync("/proc/self/cmdline", "utf8").split("\0").slice(0, -1);
  const env = Object.entries({ ...host.env, [rootlessMark]: "1" }).map(([name, value]) => `${name}=${value ?? ""}`);
  const program = readlinkSync("/proc/self/exe");
  becomeRoot(kernel, { uid, gid, beside, others: otherIds(kernel, uid), program, args, env });
}

/** What a user who is not root can have here. */
export function ordinaryUser(host: Host): OrdinaryUser {
  const kernel = new Kernel(host);
  const uid = kernel.call("geteuid");
  const others = otherIds(kernel, uid);
  return {
    uid,
    lacks: whyNoRoot(kernel),
    otherIds: others === undefined ? 0 : Math.min(others.uids.size, others.gids.size),
    controllers: delegatedLayout(kernel).hierarchies[0]?.controllers,
  };
}

/** The ids that `/etc/subuid` and `/etc/subgid` give to a user, where the programs to map them are there. */
function otherIds(kernel: Kernel, uid: number): OtherIds | undefined {
  const [newuidmap, newgidmap] = [findProgram(kernel, "newuidmap"), findProgram(kernel, "newgidmap")];
  if (newuidmap === undefined || newgidmap === undefined) return undefined;
  const [uids, gids] = [idsOf("/etc/subuid", uid), idsOf("/etc/subgid", uid)];
  return uids === undefined || gids === undefined ? undefined : { newuidmap, newgidmap, uids, gids };
}

function idsOf(file: string, uid: number) {
  try {
    const owners = [String(uid), nameOf(uid)];
    return parseSubordinateIds(readFileSync(file, "utf8")).find(({ owner }) => owners.includes(owner));
  } catch {
    // A machine without the file gives no ids to anybody.
    return undefined;
  }
}

/** Bun's `userInfo` believes the environment: it is asked for users alone that come from elsewhere. */
function nameOf(uid: number): string {
  const line = readFileSync("/etc/passwd", "utf8").split("\n").find((each) => each.split(":")[2] === String(uid));
  return line?.split(":")[0] ?? userInfo().username;
}
