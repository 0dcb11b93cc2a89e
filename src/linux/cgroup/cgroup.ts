import { Failure } from "../../core/errors.ts";
import { errno } from "../errno.ts";
import * as f from "../flags.ts";
import type { Kernel } from "../kernel.ts";
import type { Hierarchy } from "./layout.ts";
import { listFolders, readText } from "./read.ts";
import { type CgroupStats, readStats, type StatController, type StatPlaces } from "./stats.ts";

/** How long processes that were killed, or a cgroup that they have just left, may take to go. */
const patienceMs = 5000;

/** One cgroup: a folder of the same path in each hierarchy that it is in. */
export class Cgroup {
  readonly path: string;
  /** Its folder in each hierarchy. */
  readonly folders: ReadonlyMap<Hierarchy, string>;
  readonly #kernel: Kernel;

  constructor(kernel: Kernel, path: string, hierarchies: readonly Hierarchy[]) {
    this.#kernel = kernel;
    this.path = path;
    this.folders = new Map(hierarchies.map((hierarchy) => [hierarchy, `${hierarchy.path}${path}`]));
  }

  /** The files that a process writes `0` into, to enter. */
  get procs(): readonly string[] {
    return Array.from(this.folders.values(), (folder) => `${folder}/cgroup.procs`);
  }

  /** What it uses and used. */
  stats(): CgroupStats {
    const controllers: readonly (readonly [StatController, string])[] = [
      ["memory", "memory"],
      ["cpu", "cpu"],
      ["cpu", "cpuacct"],
      ["pids", "pids"],
      ["io", "io"],
      ["io", "blkio"],
    ];
    const places: { -readonly [Key in keyof StatPlaces]: StatPlaces[Key] } = {};
    for (const [hierarchy, folder] of this.folders) {
      for (const [stat, controller] of controllers) {
        if (controller === "cpu" && hierarchy.version === 1) continue;
        if (hierarchy.controllers.includes(controller)) places[stat] = { version: hierarchy.version, folder };
      }
    }
    return readStats(this.#kernel, places);
  }

  /** Kills every process in it, and waits until none is left. @throws unavailable when they do not go. */
  async kill(): Promise<void> {
    const deadline = Date.now() + patienceMs;
    for (;;) {
      const pids = this.pids();
      if (pids.size === 0) return;
      if (Date.now() > deadline) {
        throw new Failure("unavailable", `cannot empty cgroup ${JSON.stringify(this.path)}: processes do not end`, {
          details: { pids: [...pids] },
        });
      }
      const v2 = [...this.folders].find(([{ version }]) => version === 2)?.[1];
      if (v2 === undefined || !this.#write(`${v2}/cgroup.kill`, "1")) this.#killEach(pids);
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  }

  /** Frozen processes make no others between the look and the kill; a signal waits for the thaw. */
  #killEach(pids: ReadonlySet<number>): void {
    const freezer = [...this.folders].find(([{ controllers }]) => controllers.includes("freezer"))?.[1];
    if (freezer !== undefined) this.#write(`${freezer}/freezer.state`, "FROZEN");
    for (const pid of freezer === undefined ? pids : this.pids()) this.#kernel.attempt("kill", pid, f.SIGKILL);
    if (freezer !== undefined) this.#write(`${freezer}/freezer.state`, "THAWED");
  }

  /** The processes in it, by their ids here. */
  pids(): Set<number> {
    const pids = new Set<number>();
    for (const folder of this.folders.values()) {
      try {
        for (const line of readText(this.#kernel, `${folder}/cgroup.procs`).split("\n")) {
          // 0 stands for a process that this pid namespace does not see.
          if (line !== "" && line !== "0") pids.add(Number(line));
        }
      } catch (error) {
        if (!(error instanceof Failure) || (error.code !== "not_found" && error.errno !== "ENODEV")) throw error;
      }
    }
    return pids;
  }

  /** Removes it. A process that has just ended may hold it for a moment. @throws failed_precondition while it is in use. */
  async remove(): Promise<void> {
    const deadline = Date.now() + patienceMs;
    for (let waitMs = 1; !this.tryRemove(); waitMs = Math.min(waitMs * 2, 50)) {
      if (Date.now() > deadline) {
        throw new Failure("failed_precondition", `cannot remove cgroup ${JSON.stringify(this.path)}: it is in use`, {
          syscall: "rmdir",
          errno: "EBUSY",
        });
      }
      await new Promise((resolve) => setTimeout(resolve, waitMs));
    }
  }

  /**
   * Removes it where nothing is in it.
   * @param options.below also the empty cgroups below it, which a container can have made. Default true.
   * @returns whether it is gone.
   */
  tryRemove({ below = true }: { readonly below?: boolean } = {}): boolean {
    let gone = true;
    for (const folder of this.folders.values()) gone = this.#removeFolder(folder, below) && gone;
    return gone;
  }

  #removeFolder(folder: string, below: boolean): boolean {
    const remove = () => this.#kernel.attempt("unlinkat", f.AT_FDCWD, folder, f.AT_REMOVEDIR);
    let result = remove();
    if (result === -errno.EBUSY && below) {
      for (const name of listFolders(this.#kernel, folder)) this.#removeFolder(`${folder}/${name}`, below);
      result = remove();
    }
    return result === 0 || result === -errno.ENOENT;
  }

  #write(path: string, text: string): boolean {
    const fd = this.#kernel.attempt("openat", f.AT_FDCWD, path, f.O_WRONLY | f.O_CLOEXEC, 0);
    if (fd < 0) return false;
    const written = this.#kernel.attempt("write", fd, text, text.length);
    this.#kernel.attempt("close", fd);
    return written === text.length;
  }
}
