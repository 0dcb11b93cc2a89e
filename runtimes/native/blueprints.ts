import { Failure } from "../../src/core/errors.ts";
import type { Rootfs } from "../../src/core/mount.ts";
import type { Seccomp, Spec } from "../../src/core/spec.ts";
import type { Hierarchy } from "../../src/linux/cgroup/mod.ts";
import { errno } from "../../src/linux/errno.ts";
import * as f from "../../src/linux/flags.ts";
import type { Kernel } from "../../src/linux/kernel.ts";
import { compileSeccomp, letsPass, seccompFlags } from "../../src/linux/seccomp.ts";
import { Templates } from "../../src/linux/templates.ts";
import { candidates } from "./execute.ts";
import { allTurns, hasHooks } from "./hooks.ts";
import { checkHostName } from "./host_name.ts";
import { checkLabels } from "./labels.ts";
import { cgroupViews } from "./launch_values.ts";
import type { ContainerMount, SourceKinds } from "./mounts.ts";
import { becomeInParts, type Manner, parkedPlan, plan, type PlanOptions } from "./plan.ts";
import { needStages } from "./namespaces.ts";
import type { Rights } from "./rights.ts";
import { type Settings, settingsOf } from "./settings.ts";
import { hide, type StagedPlan, stagedPlan } from "./staged_plan.ts";
import type { ParkedPlan } from "./staged_launch.ts";
import type { StdioKinds } from "./stdio.ts";
import { refuseUnsupported } from "./unsupported.ts";

/** What the init stub does when its container's filter is loaded: it gets a program, answers, looks for the command. */
const behindFilter = ["read", "write", "faccessat", "getpid", "execve", "exit_group"] as const;

/** A launch that has been found possible and planned: what is left is to fill its holes. */
export class Blueprint implements Disposable {
  readonly settings: Settings;
  readonly kinds: SourceKinds;
  readonly #kernel: Kernel;
  readonly #spec: Spec;
  readonly #options: PlanOptions;
  #direct: Templates | undefined;
  #parked: ParkedPlan | undefined;
  #staged: StagedPlan | undefined;

  constructor(kernel: Kernel, spec: Spec, options: PlanOptions) {
    this.settings = options.settings;
    this.kinds = options.kinds;
    this.#kernel = kernel;
    this.#spec = spec;
    this.#options = options;
  }

  /** Whether only a launch in stages can do it. */
  get needsStages(): boolean {
    const spec = this.#spec;
    const { mounts, namespaces } = this.settings;
    const maps = mounts.some(({ mapping }) => mapping !== undefined);
    return needStages(namespaces) || maps || spec.process.terminal === true || hasHooks(spec, ...allTurns);
  }

  /** For a launch from nothing to the container's command at once, laid out in memory. @throws as `plan`. */
  get direct(): Templates {
    return this.#direct ??= new Templates(this.#kernel, plan(this.#spec, this.#options));
  }

  /** For a launch that waits in the container for its command, with nothing to do for the daemon before. @throws as `plan`. */
  get parked(): ParkedPlan {
    return this.#parked ??= this.#park();
  }

  #park(): ParkedPlan {
    const { linux: { seccomp } } = this.#spec;
    const passes = !seccomp || letsPass(seccomp, behindFilter, this.#kernel.host.arch);
    const { assume, execute } = becomeInParts(this.#spec, this.#options, passes);
    return {
      templates: new Templates(this.#kernel, parkedPlan(this.#spec, this.#options)),
      settle: [...hide(), ...assume],
      start: execute,
    };
  }

  /** For a launch in which the daemon has something to do in between. @throws as `plan`. */
  get staged(): StagedPlan {
    return this.#staged ??= stagedPlan(this.#spec, this.#options);
  }

  [Symbol.dispose](): void {
    this.#direct?.[Symbol.dispose]();
    this.#direct = undefined;
    this.#parked?.templates[Symbol.dispose]();
    this.#parked = undefined;
  }
}

export interface BlueprintsParts {
  readonly kernel: Kernel;
  readonly rights: Rights;
  /** Where the root filesystem is mounted. */
  readonly folder: string;
  readonly manner?: Manner;
}

/** How many are kept. Each takes 64 KiB. */
const most = 64;

/**
 * Keeps blueprints. Specs of the same function share their parts (`process.capabilities`, `linux.seccomp`, …) as objects
 * and differ in environment, host name and cgroup, so that parts are compared by identity: a spec that is changed after its
 * first use is not looked at again.
 */
export class Blueprints implements Disposable {
  readonly #parts: BlueprintsParts;
  readonly #known = new Map<string, Blueprint>();
  readonly #numbers = new WeakMap<object, number>();
  readonly #filters = new WeakMap<Seccomp, PlanOptions["seccomp"]>();
  #next = 0;

  constructor(parts: BlueprintsParts) {
    this.#parts = parts;
  }

  get rights(): Rights {
    return this.#parts.rights;
  }

  /**
   * The blueprint for a spec.
   * @throws what cannot be met, by name.
   */
  get(spec: Spec, rootfs: Rootfs, stdio: StdioKinds, hierarchies: readonly Hierarchy[]): Blueprint {
    refuseUnsupported(spec);
    const key = this.#key(spec, rootfs, stdio, hierarchies);
    let blueprint = this.#known.get(key);
    if (blueprint === undefined || !isSame(blueprint.kinds, this.#kinds(blueprint.settings.mounts))) {
      this.#forget(key);
      blueprint = this.#make(spec, rootfs, stdio, hierarchies);
      const [oldest] = this.#known.keys();
      if (this.#known.size >= most && oldest !== undefined) this.#forget(oldest);
    } else {
      checkHostName(spec, blueprint.settings.namespaces);
      this.#known.delete(key);
    }
    // The order of the map is that of use.
    this.#known.set(key, blueprint);
    return blueprint;
  }

  [Symbol.dispose](): void {
    for (const key of [...this.#known.keys()]) this.#forget(key);
  }

  #forget(key: string): void {
    this.#known.get(key)?.[Symbol.dispose]();
    this.#known.delete(key);
  }

  #make(spec: Spec, rootfs: Rootfs, stdio: StdioKinds, hierarchies: readonly Hierarchy[]): Blueprint {
    const { kernel, rights, folder, manner = {} } = this.#parts;
    const settings = settingsOf(spec);
    rights.check(spec.process, settings.identity, settings.rlimits, settings.namespaces);
    checkLabels(kernel, spec.process, spec.linux);
    const kinds = this.#kinds(settings.mounts);
    return new Blueprint(kernel, spec, {
      settings,
      rootfs,
      folder,
      stdio,
      cgroups: cgroupViews(hierarchies),
      kinds,
      rights,
      seccomp: this.filter(spec.linux.seccomp),
      personality: spec.linux.personality,
      manner,
    });
  }

  /** Everything that the plan depends on and that is no hole of it. */
  #key(spec: Spec, rootfs: Rootfs, stdio: StdioKinds, hierarchies: readonly Hierarchy[]): string {
    const { process, linux, mounts, root } = spec;
    const objects = [
      process.user,
      process.capabilities,
      process.rlimits,
      mounts,
      linux.namespaces,
      linux.devices,
      process.scheduler,
      process.ioPriority,
      linux.personality,
      linux.seccomp,
      linux.uidMappings,
      linux.gidMappings,
      linux.timeOffsets,
      linux.sysctl,
      linux.maskedPaths,
      linux.readonlyPaths,
      ...hierarchies,
    ];
    return JSON.stringify([
      objects.map((object) => this.#number(object)),
      rootfs,
      stdio,
      candidates(process),
      process.terminal,
      process.consoleSize,
      process.cwd,
      process.noNewPrivileges,
      process.oomScoreAdj,
      process.apparmorProfile,
      process.selinuxLabel,
      linux.mountLabel,
      root?.readonly,
      !spec.hostname,
      spec.domainname,
      linux.rootfsPropagation,
    ]);
  }

  #number(object: object | null | undefined): number {
    if (object === undefined || object === null) return -1;
    let number = this.#numbers.get(object);
    if (number === undefined) this.#numbers.set(object, number = this.#next++);
    return number;
  }

  /** @throws invalid_argument for a bind mount whose source is not there. */
  #kinds(mounts: readonly ContainerMount[]): SourceKinds {
    const kinds = new Map<string, "folder" | "file">();
    for (const { type, source } of mounts) if (type === "bind") kinds.set(source, this.#kind(source));
    return kinds;
  }

  #kind(source: string): "folder" | "file" {
    const { kernel } = this.#parts;
    const fd = kernel.attempt("openat", f.AT_FDCWD, source, f.O_PATH | f.O_DIRECTORY | f.O_CLOEXEC, 0);
    if (fd >= 0) {
      kernel.attempt("close", fd);
      return "folder";
    }
    if (fd === -errno.ENOTDIR && kernel.attempt("faccessat", f.AT_FDCWD, source, f.F_OK) === 0) return "file";
    throw new Failure("invalid_argument", `cannot bind ${JSON.stringify(source)}: there is no such file or folder`, {
      details: { field: "mounts", source },
    });
  }

  /** The compiled form of a filter, and the flags to load it with. */
  filter(seccomp: Spec["linux"]["seccomp"]): PlanOptions["seccomp"] {
    if (!seccomp) return undefined;
    let filter = this.#filters.get(seccomp);
    if (filter === undefined) {
      filter = { filter: compileSeccomp(seccomp, this.#parts.kernel.host.arch), flags: seccompFlags(seccomp) };
      this.#filters.set(seccomp, filter);
    }
    return filter;
  }
}

function isSame(one: SourceKinds, other: SourceKinds): boolean {
  for (const [source, kind] of one) if (other.get(source) !== kind) return false;
  return true;
}
