/** How the command of a user who is not root becomes root of a user namespace. */
import { readFileSync, readlinkSync } from "node:fs";
import { userInfo } from "node:os";
import process from "node:process";
import { Failure } from "./core/errors.ts";
import type { Host } from "./core/host.ts";
import { parseSubordinateIds } from "./core/subordinate_ids.ts";
import { becomeRoot, type OtherIds, whyNoRoot } from "./linux/become_root.ts";
import { findProgram } from "./linux/find_program.ts";
import { Kernel } from "./linux/kernel.ts";
import { rootlessMark } from "./cli/user.ts";

/**
 * Starts this process's command again as root of a user namespace, where the user is not root.
 * @throws failed_precondition where none can be had.
 */
export async function needRoot(host: Host): Promise<void> {
  const uid = process.geteuid?.();
  const gid = process.getegid?.();
  if (uid === undefined || gid === undefined || uid === 0) return;
  const kernel = new Kernel(host);
  const reason = whyNoRoot(kernel);
  if (reason !== undefined) {
    throw new Failure("failed_precondition", `cannot make containers as uid ${uid}: ${reason}; or use sudo`);
  }
  const args = readFileSync("/proc/self/cmdline", "utf8").split("\0").slice(0, -1);
  const env = Object.entries({ ...host.env, [rootlessMark]: "1" }).map(([name, value]) => `${name}=${value ?? ""}`);
  const program = readlinkSync("/proc/self/exe");
  becomeRoot(kernel, { uid, gid, others: otherIds(kernel, uid), program, args, env });
}

/** The ids that `/etc/subuid` and `/etc/subgid` give to a user, where the programs to map them are there. */
export function otherIds(kernel: Kernel, uid: number): OtherIds | undefined {
  const [newuidmap, newgidmap] = [findProgram(kernel, "newuidmap"), findProgram(kernel, "newgidmap")];
  if (newuidmap === undefined || newgidmap === undefined) return undefined;
  const [uids, gids] = [idsOf("/etc/subuid", uid), idsOf("/etc/subgid", uid)];
  return uids === undefined || gids === undefined ? undefined : { newuidmap, newgidmap, uids, gids };
}

function idsOf(file: string, uid: number) {
  try {
    const owners = [String(uid), userInfo().username];
    return parseSubordinateIds(readFileSync(file, "utf8")).find(({ owner }) => owners.includes(owner));
  } catch {
    // A machine without the file gives no ids to anybody, nor one that does not know the user.
    return undefined;
  }
}
