import { Failure } from "../../core/errors.ts";
import { errno } from "../errno.ts";
import * as f from "../flags.ts";
import type { Kernel } from "../kernel.ts";
import { syscallFailure } from "../syscall_failure.ts";
import type { Hierarchy } from "./layout.ts";
import { listFolders, readText } from "./read.ts";
import { writeText } from "./write.ts";
import { type CgroupStats, readOomKills, readStats, type StatController, type StatPlaces } from "./stats.ts";

/** How long processes that were killed, or a cgroup that they have just left, may take to go. */
const patienceMs = 5000;

/** How often processes are looked for that were made by others while those were brought into a cgroup. */
const mostRounds = 1000;

/** One cgroup: a folder of the same path in each hierarchy that it is in. */
export class Cgroup {
  readonly path: string;
  /** What others have made of it that stays with it, also under another name. */
  readonly marks: WeakSet<object>;
  readonly #folders: Map<Hierarchy, string>;
  readonly #kernel: Kernel;

  constructor(kernel: Kernel, path: string, hierarchies: readonly Hierarchy[], marks: WeakSet<object> = new WeakSet()) {
    this.#kernel = kernel;
    this.path = path;
    this.marks = marks;
    this.#folders = new Map(hierarchies.map((hierarchy) => [hierarchy, `${hierarchy.path}${path}`]));
  }

  /** Its folder in each hierarchy. */
  get folders(): ReadonlyMap<Hierarchy, string> {
    return this.#folders;
  }

  /**
   * Makes its folder in one more hierarchy; the one above is there. Its processes stay where they are until `gather`.
   * @throws what mkdir(2) says.
   */
  extend(hierarchy: Hierarchy): string {
    const known = this.#folders.get(hierarchy);
    if (known !== undefined) return known;
    const folder = `${hierarchy.path}${this.path}`;
    const result = this.#kernel.attempt("mkdirat", f.AT_FDCWD, folder, 0o755);
    if (result < 0 && result !== -errno.EEXIST) {
      throw syscallFailure(`cannot make cgroup ${JSON.stringify(folder)}`, "mkdirat", result);
    }
    this.#folders.set(hierarchy, folder);
    return folder;
  }

  /**
   * Brings all of its processes into its folder of a hierarchy. What they make meanwhile is brought there too.
   * @throws unavailable where they make new ones faster than that; what writing says where the hierarchy takes none.
   */
  gather(hierarchy: Hierarchy): void {
    const folder = this.#folders.get(hierarchy) ?? "";
    const others = [...this.#folders.values()].filter((each) => each !== folder);
    for (let round = 0; round < mostRounds; round++) {
      const inside = this.#pidsIn([folder]);
      const outside = [...this.#pidsIn(others)].filter((pid) => !inside.has(pid));
      if (outside.length === 0) return;
      for (const pid of outside) {
        const result = this.write(hierarchy, "cgroup.procs", String(pid));
        // It has ended since.
        if (result < 0 && result !== -errno.ESRCH) {
          throw syscallFailure(`cannot bring process ${pid} into cgroup ${JSON.stringify(folder)}`, "write", result);
        }
      }
    }
    throw new Failure(
      "unavailable",
      `cannot bring all processes into cgroup ${JSON.stringify(folder)}: they make new ones all the time: limit pids`,
    );
  }

  has(hierarchy: Hierarchy, file: string): boolean {
    return this.#kernel.attempt("faccessat", f.AT_FDCWD, `${this.#folders.get(hierarchy)}/${file}`, f.F_OK) === 0;
  }

  /** Reads one of its files. @throws not_found. */
  read(hierarchy: Hierarchy, file: string): string {
    return readText(this.#kernel, `${this.#folders.get(hierarchy)}/${file}`);
  }

  /** Writes one of its files, in one go. @returns 0, or the negative errno. */
  write(hierarchy: Hierarchy, file: string, text: string): number {
    return writeText(this.#kernel, `${this.#folders.get(hierarchy)}/${file}`, text);
  }

  /** Sends every process a signal. For SIGKILL also to those that are made meanwhile, and to frozen ones. */
  signal(signal: number): void {
    const pids = this.pids();
    if (signal === f.SIGKILL) this.#killAll(pids);
    else for (const pid of pids) this.#kernel.attempt("kill", pid, signal);
  }

  /** The files that a process writes `0` into, to enter. */
  get procs(): readonly string[] {
    return Array.from(this.#folders.values(), (folder) => `${folder}/cgroup.procs`);
  }

  /** What it uses and used. */
  stats(): CgroupStats {
    return readStats(this.#kernel, this.#places);
  }

  /** How often the kernel killed in it for want of memory: of `stats`, what decides how a container has ended. */
  oomKills(): number {
    return readOomKills(this.#kernel, this.#places);
  }

  get #places(): StatPlaces {
    const controllers: readonly (readonly [StatController, string])[] = [
      ["memory", "memory"],
      ["cpu", "cpu"],
      ["cpu", "cpuacct"],
      ["pids", "pids"],
      ["io", "io"],
      ["io", "blkio"],
    ];
    const places: { -readonly [Key in keyof StatPlaces]: StatPlaces[Key] } = {};
    for (const [hierarchy, folder] of this.#folders) {
      for (const [stat, controller] of controllers) {
        if (controller === "cpu" && hierarchy.version === 1) continue;
        if (hierarchy.controllers.includes(controller)) places[stat] = { version: hierarchy.version, folder };
      }
    }
    return places;
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
      this.#killAll(pids);
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  }

  #killAll(pids: ReadonlySet<number>): void {
    const hierarchies = [...this.#folders.keys()];
    const v2 = hierarchies.find(({ version }) => version === 2);
    if (v2 !== undefined && this.write(v2, "cgroup.kill", "1") >= 0) return;
    // Frozen processes make no others between the look and the kill; a signal waits for the thaw.
    const freezer = hierarchies.find(({ version, controllers }) => version === 1 && controllers.includes("freezer"));
    if (freezer !== undefined) this.write(freezer, "freezer.state", "FROZEN");
    for (const pid of freezer === undefined ? pids : this.pids()) this.#kernel.attempt("kill", pid, f.SIGKILL);
    if (freezer !== undefined) this.write(freezer, "freezer.state", "THAWED");
  }

  /** The processes in it, by their ids here. */
  pids(): Set<number> {
    return this.#pidsIn([...this.#folders.values()]);
  }

  #pidsIn(folders: readonly string[]): Set<number> {
    const pids = new Set<number>();
    for (const folder of folders) {
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
          syscall: "unlinkat",
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
    for (const folder of this.#folders.values()) gone = this.#removeFolder(folder, below) && gone;
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
}
