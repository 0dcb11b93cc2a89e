import { Failure } from "../../src/core/errors.ts";
import type { Spec, SpecMount } from "../../src/core/spec.ts";
import * as f from "../../src/linux/flags.ts";
import type { IdMapWord } from "../../src/linux/mount/options.ts";
import type { Operation } from "../../src/linux/program.ts";
import { type Descriptors, mostDescriptors } from "../../src/linux/stages.ts";
import type { UserNamespaces } from "../../src/linux/user_namespaces.ts";
import type { Namespaces } from "./namespaces.ts";
import { mostPreserved } from "./start_gate.ts";
import { quote } from "./steps.ts";
import { type UserMaps, writeMaps } from "./user_namespace.ts";

/** How the ids of a bind's source become those that its mount shows. */
export interface MountMapping {
  /** The ids of the source are the `containerID`s, those on the mount the `hostID`s; or a namespace that has such maps. */
  readonly users: UserMaps | { readonly path: string };
  /** Whether the mounts below it are mapped too. */
  readonly recursive: boolean;
}

/** Descriptors from here upwards, one for each mapping: above those that are kept for the user, below those of the launch. */
const first = 3 + mostPreserved;
const most = mostDescriptors - 5 - first;

/** What the kernel takes for one namespace. @see https://man7.org/linux/man-pages/man7/user_namespaces.7.html */
const mostRanges = 340;

/**
 * Reads how the ids of a mount are mapped.
 * @returns undefined where they are not.
 * @throws invalid_argument for a mapping that cannot be, or none where one is asked for.
 * @see https://github.com/opencontainers/runtime-spec/blob/v1.2.0/config.md#mounts
 */
export function mountMappingOf(
  { uidMappings: uids = [], gidMappings: gids = [] }: SpecMount,
  { field, type, word, spec, namespaces }: {
    readonly field: string;
    readonly type: string;
    readonly word: IdMapWord | undefined;
    readonly spec: Spec;
    readonly namespaces: Namespaces;
  },
): MountMapping | undefined {
  const given = uids.length > 0 || gids.length > 0;
  if (!given && word === undefined) return undefined;
  if (type !== "bind") throw invalid(field, `ids can be mapped for a bind mount alone, not for ${quote(type)}`);
  const recursive = word === "ridmap";
  if (given) {
    checkRanges(`${field}.uidMappings`, uids);
    checkRanges(`${field}.gidMappings`, gids);
    return { users: { uids, gids }, recursive };
  }
  const { uidMappings = [], gidMappings = [] } = spec.linux;
  if (uidMappings.length > 0 || gidMappings.length > 0) {
    return { users: { uids: uidMappings, gids: gidMappings }, recursive };
  }
  const path = namespaces.joined.get("user");
  if (path !== undefined) return { users: { path }, recursive };
  throw invalid(field, `${word} needs uidMappings and gidMappings, or a container with a user namespace`);
}

function checkRanges(field: string, ranges: UserMaps["uids"]): void {
  if (ranges.length === 0) throw invalid(field, "users and groups are mapped together, and these are missing");
  if (ranges.length > mostRanges) throw invalid(field, `there are ${ranges.length} ranges, want ${mostRanges} at most`);
  for (const side of ["containerID", "hostID"] as const) {
    let end = 0;
    for (const range of ranges.toSorted((one, other) => one[side] - other[side])) {
      if (range.size === 0) throw invalid(field, `the range of ${side} ${range[side]} is empty`);
      if (range[side] < end) throw invalid(field, `${side} ${range[side]} is in two ranges`);
      end = range[side] + range.size;
      // The last one means no id.
      if (end > 0xffffffff) throw invalid(field, `the range of ${side} ${range[side]} ends past 4294967294`);
    }
  }
}

function invalid(field: string, text: string): Failure {
  return new Failure("invalid_argument", `cannot use ${field}: ${text}`, { details: { field } });
}

interface Mapped {
  readonly mapping?: MountMapping | undefined;
}

/** Each mapping once, with the descriptor of its user namespace in the process. @throws resource_exhausted for too many. */
function numbered(
  mounts: readonly Mapped[],
): ReadonlyMap<string, { readonly number: number; readonly maps: UserMaps }> {
  const known = new Map<string, { number: number; maps: UserMaps }>();
  for (const { mapping } of mounts) {
    if (mapping === undefined || "path" in mapping.users) continue;
    const key = JSON.stringify(mapping.users);
    if (!known.has(key)) known.set(key, { number: first + known.size, maps: mapping.users });
  }
  if (known.size <= most) return known;
  throw new Failure(
    "resource_exhausted",
    `cannot use mounts: their ids are mapped in ${known.size} different ways, want ${most} at most`,
    { details: { field: "mounts" } },
  );
}

/** The user namespaces that a launch in stages is given for its mounts. @param held keeps them open. */
export async function mappingDescriptors(
  users: UserNamespaces,
  mounts: readonly Mapped[],
  held: DisposableStack,
): Promise<Descriptors> {
  const descriptors = new Map<number, number>();
  for (const [key, { number, maps }] of numbered(mounts)) {
    const mapping = held.use(await users.hold(key, (kernel, pid) => writeMaps(kernel, pid, maps)));
    descriptors.set(number, mapping.fd);
  }
  return descriptors;
}

/** Maps the ids of mounts that are held in `mount:<index>` and nowhere attached yet. */
export function* mapHeld(mounts: readonly (Mapped & { readonly source: string })[]): Generator<Operation> {
  const known = numbered(mounts);
  for (const [index, { mapping, source }] of mounts.entries()) {
    if (mapping === undefined) continue;
    const { users, recursive } = mapping;
    const why = `map the ids of ${quote(source)}`;
    const own = "path" in users ? { ref: "ns:mapping" } : known.get(JSON.stringify(users))?.number ?? -1;
    if ("path" in users) {
      const args = [f.AT_FDCWD, users.path, f.O_RDONLY | f.O_CLOEXEC, 0];
      yield { syscall: "openat", args, store: "ns:mapping", why: `open user namespace ${quote(users.path)}` };
    }
    const flags = f.AT_EMPTY_PATH | (recursive ? f.AT_RECURSIVE : 0);
    const change = [f.MOUNT_ATTR_IDMAP, 0, 0, own];
    yield { syscall: "mount_setattr", args: [{ ref: `mount:${index}` }, "", flags, change, 32], why };
    if ("path" in users) yield { syscall: "close", args: [own], why };
  }
  for (const { number } of known.values()) {
    yield { syscall: "close", args: [number], why: "let go of a mount's mapping" };
  }
}
