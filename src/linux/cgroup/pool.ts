import type { SpecResources } from "../../core/spec.ts";
import * as f from "../flags.ts";
import type { Kernel } from "../kernel.ts";
import type { Operation } from "../program.ts";
import type { Template } from "../template.ts";
import { Cgroup, type Cgroups } from "./cgroups.ts";
import type { Hierarchy } from "./layout.ts";
import type { CgroupStats } from "./stats.ts";

export interface CgroupPoolParts {
  readonly kernel: Kernel;
  readonly cgroups: Cgroups;
  /** The cgroup below which all of them are. */
  readonly parent: string;
}

/** How long a cgroup is kept without use. */
const idleMs = 500;

/** How many are kept at most. */
const most = 16;

/** What the container before may leave charged: mostly pages that the kernel keeps ahead for each processor. */
const mostBytesLeft = 1 << 20;

/** Begins the names of those that are kept. No container's id begins so. */
export const idlePrefix = ".idle-";

/**
 * Keeps cgroups whose containers have ended, for the next ones with the same limits, under another name: making and
 * removing a folder in each hierarchy of version 1 costs more than all else that `create` and `delete` do.
 *
 * Only the very same object of resources makes cgroups alike, so that one is never used by two functions. One that has
 * something to tell, or has memory left in it, is not kept. Version 2 has a single folder, and cannot rename it.
 */
export class CgroupPool {
  readonly #parts: CgroupPoolParts;
  readonly #templates = new Map<string, Template>();
  /** The one kept last is at the end. */
  #idle: { readonly cgroup: Cgroup; readonly resources: SpecResources; readonly since: number }[] = [];
  #sweep: ReturnType<typeof setTimeout> | undefined;
  #count = 0;

  constructor(parts: CgroupPoolParts) {
    this.#parts = parts;
  }

  /** A cgroup of this path, fresh or as good as that. @throws as `Cgroups.create`. */
  take(path: string, resources: SpecResources): Cgroup {
    const index = this.#idle.findLastIndex((each) => each.resources === resources);
    const [kept] = index < 0 ? [] : this.#idle.splice(index, 1);
    const renewed = kept === undefined ? undefined : this.#rename(kept.cgroup, path, countersOf);
    return renewed ?? this.#parts.cgroups.create(path, resources);
  }

  /**
   * Keeps a cgroup that no process can be in, or come into, any more.
   * @param stats as they were at the end.
   * @returns whether it is kept. If not, it is still the caller's.
   */
  give(cgroup: Cgroup, resources: SpecResources, stats: CgroupStats): boolean {
    if (this.#idle.length >= most || !isUnused(stats, resources)) return false;
    if ([...cgroup.folders.keys()].some(({ version }) => version !== 1)) return false;
    const kept = this.#rename(cgroup, `${this.#parts.parent}/${idlePrefix}${this.#count++}`, () => []);
    if (kept === undefined) return false;
    this.#idle.push({ cgroup: kept, resources, since: Date.now() });
    this.#sweep ??= setTimeout(() => this.#removeOld(), idleMs);
    return true;
  }

  /** Removes all that are kept. */
  async clear(): Promise<void> {
    clearTimeout(this.#sweep);
    this.#sweep = undefined;
    await Promise.all(this.#idle.splice(0).map(({ cgroup }) => cgroup.remove()));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.clear();
    for (const template of this.#templates.values()) template.release();
    this.#templates.clear();
  }

  #removeOld(): void {
    const now = Date.now();
    const old = this.#idle.filter(({ since }) => now - since >= idleMs);
    this.#idle = this.#idle.filter((each) => !old.includes(each));
    // Who has moved a process into one may keep it: `recover` removes both.
    for (const { cgroup } of old) cgroup.tryRemove();
    this.#sweep = this.#idle.length === 0 ? undefined : setTimeout(() => this.#removeOld(), idleMs);
  }

  /**
   * Renames it in every hierarchy, and clears counters. Where something does not go, it is removed instead.
   * @param counters the files to clear in each hierarchy.
   */
  #rename(cgroup: Cgroup, path: string, counters: (hierarchy: Hierarchy) => readonly string[]): Cgroup | undefined {
    const { kernel } = this.#parts;
    const hierarchies = [...cgroup.folders.keys()];
    const renamed = new Cgroup(kernel, path, hierarchies, cgroup.marks);
    const values: Record<string, string> = {};
    const cleared: string[] = [];
    for (const [hierarchy, folder] of cgroup.folders) {
      const to = renamed.folders.get(hierarchy) ?? "";
      values[`from:${hierarchy.path}`] = folder;
      values[`to:${hierarchy.path}`] = to;
      for (const file of counters(hierarchy)) {
        cleared.push(`${hierarchy.path}/${file}`);
        values[`${hierarchy.path}/${file}`] = `${to}/${file}`;
      }
    }
    const results = kernel.run(this.#template(hierarchies, cleared).fill(values));
    const moved = hierarchies.filter((hierarchy) => results.get(`rename:${hierarchy.path}`) === 0);
    if (moved.length === hierarchies.length && cleared.every((file) => results.get(`clear:${file}`) === 1)) {
      return renamed;
    }
    new Cgroup(kernel, path, moved).tryRemove();
    cgroup.tryRemove();
    return undefined;
  }

  #template(hierarchies: readonly Hierarchy[], cleared: readonly string[]): Template {
    const key = [...hierarchies.map(({ path }) => path), ...cleared].join();
    let template = this.#templates.get(key);
    if (template === undefined) {
      template = this.#parts.kernel.compile([...renameFolders(hierarchies), ...clearCounters(cleared)]);
      this.#templates.set(key, template);
    }
    return template;
  }
}

function isUnused(stats: CgroupStats, { memory }: SpecResources): boolean {
  const { pids, oomKills, memoryBytes = 0, ioReadBytes = 0, ioWriteBytes = 0 } = stats;
  const limit = memory?.limit ?? -1;
  const allowed = limit > 0 ? Math.min(mostBytesLeft, limit / 16) : mostBytesLeft;
  return pids === 0 && oomKills === 0 && ioReadBytes + ioWriteBytes === 0 && memoryBytes <= allowed;
}

/** The counters that are told at a container's end, or that it may read itself. */
function countersOf({ controllers }: Hierarchy): readonly string[] {
  return [
    ...controllers.includes("memory") ? ["memory.max_usage_in_bytes", "memory.failcnt"] : [],
    ...controllers.includes("cpuacct") ? ["cpuacct.usage"] : [],
  ];
}

function* renameFolders(hierarchies: readonly Hierarchy[]): Generator<Operation> {
  for (const { path, name } of hierarchies) {
    yield {
      syscall: "renameat2",
      args: [f.AT_FDCWD, { hole: `from:${path}` }, f.AT_FDCWD, { hole: `to:${path}` }, 0],
      store: `rename:${path}`,
      why: `rename cgroup in ${JSON.stringify(name)}`,
      onError: "ignore",
    };
  }
}

const zero = new TextEncoder().encode("0");

function* clearCounters(files: readonly string[]): Generator<Operation> {
  for (const file of files) {
    const why = `clear ${file}`;
    const next = `next:${file}`;
    const args = [f.AT_FDCWD, { hole: file }, f.O_WRONLY | f.O_CLOEXEC, 0];
    yield { syscall: "openat", args, store: "file", why, onError: { goto: next } };
    yield { syscall: "write", args: [{ ref: "file" }, zero, 1], store: `clear:${file}`, why, onError: "ignore" };
    yield { syscall: "close", args: [{ ref: "file" }], why, onError: "ignore" };
    yield { syscall: "getpid", args: [], why: "go on", label: next };
  }
}
