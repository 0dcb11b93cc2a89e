import { existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { Failure } from "../../src/core/errors.ts";
import type { Rootfs } from "../../src/core/mount.ts";
import type { Children } from "../../src/linux/children.ts";
import * as f from "../../src/linux/flags.ts";
import type { Kernel, Spawned } from "../../src/linux/kernel.ts";
import { raiseLoopback } from "../../src/linux/loopback.ts";
import { isolateMounts, mountRootfs } from "../../src/linux/mount/rootfs.ts";
import type { Argument, Operation } from "../../src/linux/program.ts";
import { type StdioEnds, streamNames } from "../../src/linux/stdio_pipes.ts";
import { type MountPlace, networkKey, type OutsideStreams, readStreams } from "./checkpoint.ts";
import type { Criu } from "../../src/linux/criu.ts";
import type { Launch } from "./launch.ts";
import type { CgroupView } from "./mounts.ts";
import { makeCgroupNamespace, type Namespaces } from "./namespaces.ts";
import { enterCgroups } from "./plan.ts";
import { openRoot, place } from "./steps.ts";

export interface RestoreOptions {
  readonly id: string;
  readonly criu: Criu;
  readonly kernel: Kernel;
  /** CRIU's files, as a checkpoint left them. */
  readonly checkpoint: string;
  /** A folder of the runtime's own, for what CRIU writes meanwhile. */
  readonly work: string;
  readonly rootfs: Rootfs;
  /** Where the root filesystem is mounted, in CRIU's own mount namespace. */
  readonly folder: string;
  readonly namespaces: Namespaces;
  readonly cgroups: readonly CgroupView[];
  /** The holes of `enterCgroups`. */
  readonly values: Readonly<Record<string, Argument>>;
  /** What has to be there to be mounted on. */
  readonly places: readonly MountPlace[];
  /** Target → source. */
  readonly outsideMounts: ReadonlyMap<string, string>;
  readonly ends: StdioEnds;
  /** Kills all that is in the container's cgroup. */
  readonly kill: () => Promise<void>;
  readonly children: Children;
}

/** Where CRIU finds the container's streams, and its network namespace. */
const [firstStream, network] = [3, 6];

/**
 * A launch from a checkpoint. CRIU runs in the container's cgroup, with the root filesystem mounted in a mount namespace of
 * its own, makes all other namespaces as they were, and leaves init as a child of the daemon.
 * @throws invalid_argument for what is no checkpoint of this runtime.
 */
export function restoredLaunch(options: RestoreOptions): Launch {
  const streams = readStreams(options.checkpoint);
  return {
    init: undefined,
    // Its environment is in its memory.
    start: () => restore(options, streams),
    close() {},
  };
}

async function restore(options: RestoreOptions, { stdio }: OutsideStreams): Promise<Spawned> {
  const { id, criu, kernel, checkpoint, ends, namespaces } = options;
  const work = join(options.work, id);
  mkdirSync(work, { recursive: true, mode: 0o700 });
  const pidFile = join(work, "pid");
  const hasNetwork = namespaces.made.has("network");
  let root = "";
  const prepare: Operation[] = [...(function* () {
    yield { syscall: "setsid", args: [], why: "leave the daemon's session" } as const;
    yield* fill(enterCgroups(options.cgroups), options.values);
    yield* makeCgroupNamespace(namespaces);
    if (hasNetwork) yield* makeNetwork();
    yield { syscall: "umask", args: [0], why: "make files with exactly the modes that are asked for" } as const;
    yield* isolateMounts();
    root = yield* mountRootfs(options.rootfs, options.folder);
    yield* openRoot(".");
    for (const { target, kind } of options.places) yield* place(target, kind);
  })()];
  try {
    await criu.run("restore", [
      ...["--images-dir", checkpoint, "--work-dir", work, "--root", root, "--pidfile", pidFile],
      ...["--restore-detached", "--restore-sibling", "--manage-cgroups=ignore", "--tcp-established", "--file-locks"],
      ...Array.from(options.outsideMounts, ([target, source]) => ["--external", `mnt[${target}]:${source}`]).flat(),
      ...stdio.flatMap((key, index) => key === null ? [] : ["--inherit-fd", `fd[${firstStream + index}]:${key}`]),
      ...hasNetwork ? ["--inherit-fd", `fd[${network}]:${networkKey}`] : [],
    ], { descriptors: [...streamNames.map((name) => ends[name]), undefined], prepare, flags: f.CLONE_NEWNS });
    const pid = Number(readFileSync(pidFile, "utf8"));
    return { pid, pidfd: kernel.call("pidfd_open", pid, 0) };
  } catch (error) {
    await clear(options, pidFile);
    if (!(error instanceof Failure)) throw error;
    throw new Failure(error.code, `cannot restore container ${JSON.stringify(id)}: ${error.message}`, { cause: error });
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** Ends what a restore that has failed may have left: its init is a child of the daemon. */
async function clear({ kernel, children, kill }: RestoreOptions, pidFile: string): Promise<void> {
  await kill();
  const pid = existsSync(pidFile) ? Number(readFileSync(pidFile, "utf8")) : 0;
  const pidfd = pid > 0 ? kernel.attempt("pidfd_open", pid, 0) : -1;
  if (pidfd < 0) return;
  try {
    // One that was no child of the daemon any more has been waited for.
    if (kernel.attempt("waitid", f.P_PIDFD, pidfd, 0, f.WEXITED | f.WNOHANG | f.WNOWAIT, 0) === 0) {
      kernel.attempt("pidfd_send_signal", pidfd, f.SIGKILL, 0, 0);
      await children.wait(pidfd);
    }
  } finally {
    kernel.attempt("close", pidfd);
  }
}

function* makeNetwork(): Generator<Operation> {
  const why = "take hold of the network namespace";
  yield { syscall: "unshare", args: [f.CLONE_NEWNET], why: "make network namespace" };
  yield* raiseLoopback();
  yield {
    syscall: "openat",
    args: [f.AT_FDCWD, "/proc/self/ns/net", f.O_RDONLY | f.O_CLOEXEC, 0],
    store: "network",
    why,
  };
  yield { syscall: "dup3", args: [{ ref: "network" }, network, 0], why };
}

/** Gives holes their values where a program is run once. */
function* fill(program: Iterable<Operation>, values: Readonly<Record<string, Argument>>): Generator<Operation> {
  for (const step of program) {
    const args = step.args.map((each) => typeof each === "object" && "hole" in each ? values[each.hole] ?? each : each);
    yield { ...step, args };
  }
}
