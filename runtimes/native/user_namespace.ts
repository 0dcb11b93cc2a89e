import { Failure } from "../../src/core/errors.ts";
import type { Spec } from "../../src/core/spec.ts";
import * as f from "../../src/linux/flags.ts";
import type { Kernel } from "../../src/linux/kernel.ts";
import type { Operation } from "../../src/linux/program.ts";
import { syscallFailure } from "../../src/linux/syscall_failure.ts";
import type { Identity } from "./identity.ts";
import type { Namespaces } from "./namespaces.ts";

type IdMap = readonly { readonly containerID: number; readonly hostID: number; readonly size: number }[];

/** Which ids of a container are which on the host. */
export interface UserMaps {
  readonly uids: IdMap;
  readonly gids: IdMap;
}

/**
 * Reads `linux.uidMappings` and `gidMappings`.
 * @returns undefined where the container shares the host's users, or those of another without saying how they are mapped.
 * @throws invalid_argument for maps without a namespace, a namespace without maps, or a user that is not in them.
 */
export function userMapsOf(spec: Spec, { made, joined }: Namespaces, identity: Identity): UserMaps | undefined {
  const { uidMappings: uids = [], gidMappings: gids = [] } = spec.linux;
  const given = uids.length > 0 || gids.length > 0;
  if (!made.has("user") && !joined.has("user")) {
    if (given) throw invalid("linux.uidMappings", "there is no user namespace that they would be for");
    return undefined;
  }
  if (!given && joined.has("user")) return undefined;
  if (hostId(uids, 0) === undefined) throw invalid("linux.uidMappings", "user 0 has to be among them");
  if (hostId(gids, 0) === undefined) throw invalid("linux.gidMappings", "group 0 has to be among them");
  if (hostId(uids, identity.uid) === undefined) {
    throw invalid("process.user.uid", `user ${identity.uid} is not in linux.uidMappings`);
  }
  for (const gid of [identity.gid, ...identity.groups]) {
    if (hostId(gids, gid) === undefined) throw invalid("process.user.gid", `group ${gid} is not in linux.gidMappings`);
  }
  return { uids, gids };
}

function invalid(field: string, text: string): Failure {
  return new Failure("invalid_argument", `cannot use ${field}: ${text}`, { details: { field } });
}

/** The id on the host of one in the container. */
export function hostId(map: IdMap, id: number): number | undefined {
  const range = map.find(({ containerID, size }) => id >= containerID && id < containerID + size);
  return range === undefined ? undefined : range.hostID + id - range.containerID;
}

/** Gives a process's new user namespace its maps. @throws invalid_argument for what the kernel refuses. */
export function writeMaps(kernel: Kernel, pid: number, { uids, gids }: UserMaps): void {
  for (const [file, map] of [["uid_map", uids], ["gid_map", gids]] as const) {
    const text = map.map(({ containerID, hostID, size }) => `${containerID} ${hostID} ${size}\n`).join("");
    writeProcFile(kernel, pid, file, text, `map the container's ids in ${file}`);
  }
}

/** Sets the clocks of a process's new time namespace, before anybody is in it. */
export function writeTimeOffsets(
  kernel: Kernel,
  pid: number,
  offsets: NonNullable<Spec["linux"]["timeOffsets"]>,
): void {
  const text = Object.entries(offsets).map(([clock, { secs = 0, nanosecs = 0 }]) => `${clock} ${secs} ${nanosecs}\n`)
    .join("");
  writeProcFile(kernel, pid, "timens_offsets", text, "set the time namespace's offsets");
}

/** A file of /proc takes what it is told in one write. */
function writeProcFile(kernel: Kernel, pid: number, name: string, text: string, why: string): void {
  const bytes = new TextEncoder().encode(text);
  const path = `/proc/${pid}/${name}`;
  const results = kernel.run([
    { syscall: "openat", args: [f.AT_FDCWD, path, f.O_WRONLY | f.O_CLOEXEC, 0], store: "file", why },
    { syscall: "write", args: [{ ref: "file" }, bytes, bytes.length], store: "written", why, onError: "ignore" },
    { syscall: "close", args: [{ ref: "file" }], why },
  ]);
  const written = results.get("written");
  if (written < 0) throw syscallFailure(why, "write", written);
}

/** Becomes the user and group 0 of the user namespace that the process is in. */
export function* becomeNamespaceRoot(): Generator<Operation> {
  yield { syscall: "setresgid", args: [0, 0, 0], why: "become the user namespace's group 0" };
  yield { syscall: "setgroups", args: [0, 0], why: "leave the daemon's groups", onError: "ignore" };
  yield { syscall: "setresuid", args: [0, 0, 0], why: "become the user namespace's user 0" };
}
