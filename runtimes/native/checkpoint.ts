import { readdirSync, readFileSync, readlinkSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import * as v from "valibot";
import { Failure } from "../../src/core/errors.ts";
import { parse } from "../../src/core/parse.ts";
import type { Spec } from "../../src/core/spec.ts";
import { parseProcStat } from "../../src/linux/proc_stat.ts";
import type { Criu } from "../../src/linux/criu.ts";
import type { CgroupView, SourceKinds } from "./mounts.ts";
import { creationTurns, hasHooks } from "./hooks.ts";
import type { Rights } from "./rights.ts";
import type { Settings } from "./settings.ts";

/** The key of the network namespace in a checkpoint. */
export const networkKey = "network";

/** How large a file may be that is open and has no name any more: it goes into the checkpoint. */
const ghostLimitBytes = 64 << 20;

/** How long a process may take that is told to stop. */
const stopTimeoutMs = 10_000;

/** Beside CRIU's own files. */
const streamsName = "mayfly.json";

/** CRIU's name for what init had as its standard streams and gets anew; null for what was not the daemon's. */
const Streams = v.strictObject({
  stdio: v.strictTuple(
    Array.from(
      { length: 3 },
      () => v.nullable(v.pipe(v.string(), v.regex(/^(pipe:\[\d+\]|file\[[0-9a-f]+:[0-9a-f]+\])$/))),
    ),
  ),
});

/** The names of what a process has from outside of its container. */
export interface OutsideStreams {
  readonly stdio: readonly (string | null)[];
}

/**
 * Finds which of a process's standard streams lead out of its container: pipes whose other end is here, and files of the
 * host's filesystems.
 */
export function outsideStreams(pid: number): OutsideStreams {
  const own = new Set(
    readdirSync("/proc/self/fd").map((fd) => linkOf(`/proc/self/fd/${fd}`)).filter((link) => link?.startsWith("pipe:")),
  );
  const mounts = new Set(
    readFileSync(`/proc/${pid}/mountinfo`, "utf8").split("\n").map((line) => line.split(" ", 1)[0]),
  );
  const nameOf = (fd: number) => {
    const link = linkOf(`/proc/${pid}/fd/${fd}`);
    if (link === undefined) return null;
    if (link.startsWith("pipe:")) return own.has(link) ? link : null;
    const mount = /^mnt_id:\s*(\d+)$/m.exec(readFileSync(`/proc/${pid}/fdinfo/${fd}`, "utf8"))?.[1];
    if (mount === undefined || mounts.has(mount)) return null;
    const { ino } = statSync(`/proc/${pid}/fd/${fd}`, { bigint: true });
    return `file[${Number(mount).toString(16)}:${ino.toString(16)}]`;
  };
  return { stdio: [0, 1, 2].map(nameOf) };
}

function linkOf(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}

export interface DumpOptions {
  /** Empty. */
  readonly folder: string;
  /** As `outsideMounts`. */
  readonly mounts: ReadonlyMap<string, string>;
  readonly tcpEstablished: boolean | undefined;
}

/** Writes a container's init and all below it to a folder, and leaves them stopped. @throws as `Criu.run`. */
export async function dump(criu: Criu, pid: number, { folder, mounts, tcpEstablished }: DumpOptions): Promise<void> {
  const streams = outsideStreams(pid);
  const files = streams.stdio.filter((key) => key?.startsWith("file"));
  const [network, hosts] = [pid, "self"].map((each) => statSync(`/proc/${each}/ns/net`).ino);
  await criu.run("dump", [
    ...["--tree", `${pid}`, "--images-dir", folder, "--leave-stopped", "--manage-cgroups=ignore", "--file-locks"],
    ...["--ghost-limit", `${ghostLimitBytes}`],
    ...tcpEstablished === true ? ["--tcp-established"] : [],
    ...Array.from(mounts.keys(), (target) => ["--external", `mnt[${target}]:${target}`]).flat(),
    ...files.flatMap((key) => ["--external", `${key}`]),
    ...network === hosts ? [] : ["--external", `net[${network}]:${networkKey}`],
  ]);
  writeFileSync(join(folder, streamsName), JSON.stringify(streams), { mode: 0o600 });
}

/**
 * Waits until processes stand still: CRIU has sent them SIGSTOP when it ends, which they take notice of a moment later.
 * @throws deadline_exceeded.
 */
export async function standStill(pids: ReadonlySet<number>): Promise<void> {
  const deadline = Date.now() + stopTimeoutMs;
  for (const pid of pids) {
    while (runs(pid)) {
      if (Date.now() > deadline) {
        throw new Failure(
          "deadline_exceeded",
          `cannot checkpoint: process ${pid} did not stop within ${stopTimeoutMs} ms`,
        );
      }
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }
}

/** Whether a process is neither stopped nor at its end. */
function runs(pid: number): boolean {
  try {
    return !/^[TtZX]$/.test(parseProcStat(readFileSync(`/proc/${pid}/stat`, "utf8")).field(3));
  } catch {
    return false;
  }
}

/** What `dump` found. @throws invalid_argument for what is no checkpoint of this runtime. */
export function readStreams(folder: string): OutsideStreams {
  const what = `cannot restore from ${JSON.stringify(folder)}`;
  let streams: unknown;
  try {
    streams = JSON.parse(readFileSync(join(folder, streamsName), "utf8"));
  } catch (cause) {
    throw new Failure("invalid_argument", `${what}: it holds no checkpoint of the native runtime`, { cause });
  }
  return parse(Streams, streams, what);
}

/** The mounts that a container has from the host, by their targets: where each is from. */
export function outsideMounts(
  { mounts }: Settings,
  cgroups: readonly CgroupView[],
  folderOf: (name: string) => string,
): ReadonlyMap<string, string> {
  const outside = new Map<string, string>();
  for (const { type, target, source } of mounts) {
    if (type === "bind") outside.set(target, source);
    if (type !== "cgroup") continue;
    for (const { name } of cgroups) outside.set(name === "" ? target : `${target}/${name}`, folderOf(name));
  }
  return outside;
}

/** A place in the root filesystem. */
export interface MountPlace {
  readonly target: string;
  readonly kind: "folder" | "file";
}

/** What a launch makes in the root filesystem to mount on; what is below another mount comes with that. */
export function mountPlaces({ mounts }: Settings, kinds: SourceKinds): readonly MountPlace[] {
  const targets = mounts.map(({ target }) => target);
  return mounts
    .filter(({ target }) => !targets.some((other) => target.startsWith(`${other}/`)))
    .map(({ target, type, source }) => ({ target, kind: type === "bind" ? kinds.get(source) ?? "folder" : "folder" }));
}

/** @throws unimplemented, or permission_denied, for a container that could not be restored, naming what it has. */
export function refuseCheckpoint(
  spec: Spec,
  { namespaces, maps, identity }: Settings,
  rights: Pick<Rights, "ids" | "raisesLimits">,
): void {
  const refuse = (what: string) => {
    throw new Failure(
      "unimplemented",
      `cannot checkpoint or restore a container ${what}: the native runtime does not yet`,
    );
  };
  if (spec.process.terminal === true) refuse("with a terminal");
  if (maps !== undefined || namespaces.made.has("user") || namespaces.joined.has("user")) {
    refuse("with users of its own");
  }
  // The limits of another user's process are read and set.
  if (identity.uid !== 0 && !rights.raisesLimits) {
    throw new Failure(
      "permission_denied",
      `cannot checkpoint or restore a container of user ${identity.uid}: the daemon has no CAP_SYS_RESOURCE`,
    );
  }
  if (!rights.ids.all) refuse("of an ordinary user");
  if (!namespaces.made.has("pid") || !namespaces.made.has("mount")) {
    refuse("without pid and mount namespaces of its own");
  }
  if (namespaces.joined.size > 0) refuse("in namespaces of others");
  // What they have done to the first container is not in the checkpoint, and CRIU makes the next one by itself.
  const hooked = creationTurns.find((turn) => hasHooks(spec, turn));
  if (hooked !== undefined) refuse(`with hooks ${hooked}`);
}
