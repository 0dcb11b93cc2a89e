import { codeOf, Failure } from "../../core/errors.ts";
import type { SpecResources } from "../../core/spec.ts";
import * as f from "../flags.ts";
import type { Kernel } from "../kernel.ts";
import { syscallFailure } from "../syscall_failure.ts";
import type { Template } from "../template.ts";
import { Cgroup } from "./cgroup.ts";
import { cgroupProgram, checkLimits, filesOf, openersOf } from "./cgroup_program.ts";
import { DeviceFilters } from "./device_filters.ts";
import { type DeviceRule, deviceRules } from "./devices.ts";
import { realtimeFiles } from "./cpu_limits.ts";
import { beginFreeze, freezerOf, frozen, thaw } from "./freezer.ts";
import type { Hierarchy, Layout } from "./layout.ts";
import type { Limit } from "./limit.ts";
import { limitsOf } from "./limits.ts";
import { allowRealtime, inheritCpuset, makeParents } from "./parents.ts";
import { listFolders } from "./read.ts";
import { update } from "./update.ts";

export { Cgroup } from "./cgroup.ts";

/** Controllers that every cgroup has where the machine has them: those that limit and those that count. */
const always = ["memory", "pids", "cpu", "cpuacct", "devices", "blkio", "io"];

/** Makes and finds cgroups, whichever versions the machine has. A path here begins at each hierarchy's own root. */
export class Cgroups implements Disposable {
  readonly layout: Layout;
  readonly #kernel: Kernel;
  readonly #always: readonly Hierarchy[];
  readonly #blueprints = new WeakMap<SpecResources, CgroupBlueprint>();
  readonly #forgotten = new FinalizationRegistry<Template>((template) => template.release());
  readonly #filters: DeviceFilters;
  /** The folders above cgroups that are known to be there. */
  readonly #parents = new Set<string>();

  constructor(kernel: Kernel, layout: Layout) {
    this.#kernel = kernel;
    this.layout = layout;
    this.#filters = new DeviceFilters(kernel);
    this.#always = layout.hierarchies.filter(({ controllers, version }) =>
      controllers.some((controller) => always.includes(controller)) ||
      // Where it is the only hierarchy, processes have to be somewhere in it.
      version === 2 && layout.hierarchies.length === 1
    );
  }

  /**
   * The hierarchies that a cgroup with these limits is in.
   * @throws failed_precondition where a controller is missing; unimplemented for a limit that its version does not have.
   */
  hierarchies(resources: SpecResources): readonly Hierarchy[] {
    return this.#blueprint(resources).hierarchies;
  }

  /**
   * Makes a cgroup with its limits, in one entry to the kernel.
   * @param path absolute, for example `/mayfly/x`; folders above it are made where they are missing.
   * @throws already_exists; as `hierarchies`; invalid_argument for a value that the kernel refuses.
   */
  create(path: string, resources: SpecResources): Cgroup {
    const blueprint = this.#blueprint(resources);
    const cgroup = new Cgroup(this.#kernel, path, blueprint.hierarchies);
    const parent = path.slice(0, path.lastIndexOf("/"));
    const known = this.#makeParents(blueprint.hierarchies, parent);
    try {
      try {
        this.#fill(blueprint, cgroup, parent);
      } catch (error) {
        if (!known || codeOf(error) !== "not_found") throw error;
        // Somebody has removed the folders above since.
        this.#parents.clear();
        this.#makeParents(blueprint.hierarchies, parent);
        this.#fill(blueprint, cgroup, parent);
      }
    } catch (error) {
      if (codeOf(error) === "already_exists") throw inUse(path, error);
      cgroup.tryRemove();
      throw error;
    }
    return cgroup;
  }

  /** @returns whether all of them were known to be there. */
  #makeParents(hierarchies: readonly Hierarchy[], parent: string): boolean {
    let known = true;
    for (const hierarchy of hierarchies) {
      const key = `${hierarchy.path}${parent}`;
      if (this.#parents.has(key)) continue;
      makeParents(this.#kernel, hierarchy, parent);
      this.#parents.add(key);
      known = false;
    }
    return known;
  }

  #fill({ template, files, limits, openers, realtime, filter }: CgroupBlueprint, cgroup: Cgroup, parent: string): void {
    const values: Record<string, string> = {};
    for (const [hierarchy, folder] of cgroup.folders) {
      values[hierarchy.path] = folder;
      for (const file of files.get(hierarchy) ?? []) values[`${hierarchy.path}/${file}`] = `${folder}/${file}`;
    }
    if (realtime !== undefined) allowRealtime(this.#kernel, realtime.hierarchy, parent, realtime);
    const results = this.#kernel.run(template.fill(values));
    checkLimits(results, limits, openers);
    if (filter !== undefined) this.#filters.attach(cgroup.folders.get(filter.hierarchy) ?? "", filter.rules);
    for (const [{ version, controllers, path }, folder] of cgroup.folders) {
      if (version === 1 && controllers.includes("cpuset")) inheritCpuset(this.#kernel, `${path}${parent}`, folder);
    }
  }

  /** Whether this machine can stop the processes of a cgroup. */
  get freezes(): boolean {
    return freezerOf(this.layout) !== undefined;
  }

  /**
   * Stops all processes of a cgroup; resolves when they stand. Only then does it get a folder in the freezer's hierarchy:
   * most never need one.
   * @throws failed_precondition where the machine has no freezer; unavailable when they do not stop, and go on then;
   * aborted when they are let go meanwhile.
   */
  async freeze(cgroup: Cgroup): Promise<void> {
    const freezer = freezerOf(this.layout, cgroup);
    if (freezer === undefined) {
      throw new Failure(
        "failed_precondition",
        "cannot pause: no cgroup hierarchy of this machine has the freezer controller: mount cgroup v2",
        { details: { controller: "freezer" } },
      );
    }
    try {
      this.#enter(cgroup, [freezer], () => {
        const begun = beginFreeze(cgroup, freezer);
        if (begun < 0) throw syscallFailure(`cannot freeze cgroup ${JSON.stringify(cgroup.path)}`, "write", begun);
      });
      await frozen(cgroup, freezer);
    } catch (error) {
      thaw(cgroup, freezer);
      throw error;
    }
  }

  /** Lets the processes of a cgroup go on. */
  thaw(cgroup: Cgroup): void {
    const freezer = freezerOf(this.layout, cgroup);
    if (freezer !== undefined && cgroup.folders.has(freezer)) thaw(cgroup, freezer);
  }

  /**
   * Changes the limits that are named. Where the kernel refuses one, those before it are as they were.
   * @param devices the device rules that it has: version 2 takes them as a whole, so that those of `resources` follow them.
   * @throws as `hierarchies`; invalid_argument for a value that the kernel refuses.
   */
  update(cgroup: Cgroup, resources: SpecResources, devices: SpecResources["devices"] = []): void {
    const parent = cgroup.path.slice(0, cgroup.path.lastIndexOf("/"));
    using filter = this.#changeDevices(cgroup, resources, devices);
    try {
      update(resources, this.layout, cgroup, (limits) => {
        this.#enter(cgroup, [...new Set(limits.map(({ hierarchy }) => hierarchy))], () => {});
        const realtime = realtimeOf(limits);
        if (realtime !== undefined) allowRealtime(this.#kernel, realtime.hierarchy, parent, realtime);
      });
    } catch (error) {
      filter?.undo();
      throw error;
    }
  }

  /** Version 1 has the rules in a file, among the other limits. */
  #changeDevices(cgroup: Cgroup, { devices: more = [] }: SpecResources, devices: SpecResources["devices"] = []) {
    if (more.length === 0 || this.layout.find("devices") !== undefined) return undefined;
    if (this.layout.delegated === true) {
      throw new Failure(
        "permission_denied",
        "cannot change linux.resources.devices: the daemon is an ordinary user's",
        {
          details: { field: "linux.resources.devices" },
        },
      );
    }
    const filter = this.#deviceFilter({ devices: [...devices, ...more] });
    if (filter === undefined) return undefined;
    this.#enter(cgroup, [filter.hierarchy], () => {});
    return this.#filters.replace(cgroup.folders.get(filter.hierarchy) ?? "", filter.rules);
  }

  /** Brings a cgroup and its processes into more hierarchies. @param prepare is called when the folders are made. */
  #enter(cgroup: Cgroup, hierarchies: readonly Hierarchy[], prepare: () => void): void {
    const missing = hierarchies.filter((hierarchy) => !cgroup.folders.has(hierarchy));
    const parent = cgroup.path.slice(0, cgroup.path.lastIndexOf("/"));
    for (const hierarchy of missing) {
      makeParents(this.#kernel, hierarchy, parent);
      const folder = cgroup.extend(hierarchy);
      const { version, controllers, path } = hierarchy;
      if (version === 1 && controllers.includes("cpuset")) inheritCpuset(this.#kernel, `${path}${parent}`, folder);
    }
    prepare();
    for (const hierarchy of missing) cgroup.gather(hierarchy);
  }

  #deviceFilter({ devices }: SpecResources): DeviceFilter | undefined {
    const rules = deviceRules(devices ?? []);
    // An ordinary user loads no such program, and makes no device nodes: the host's are opened by the host's rules.
    if (rules.length === 0 || this.layout.delegated === true || this.layout.find("devices") !== undefined) {
      return undefined;
    }
    const hierarchy = this.layout.hierarchies.find(({ version }) => version === 2);
    if (hierarchy === undefined) {
      throw new Failure(
        "failed_precondition",
        "cannot set linux.resources.devices: this machine has neither the devices controller nor cgroup v2",
        { details: { field: "linux.resources.devices" } },
      );
    }
    // What the kernel refuses is told before anything is made.
    this.#filters.load(rules);
    return { hierarchy, rules };
  }

  /** Resources of the same function are the same object: what is to be done for them is laid out once. */
  #blueprint(resources: SpecResources): CgroupBlueprint {
    let blueprint = this.#blueprints.get(resources);
    if (blueprint === undefined) {
      const limits = limitsOf(resources, this.layout);
      const filter = this.#deviceFilter(resources);
      const needed = [
        ...this.#always,
        ...limits.map(({ hierarchy }) => hierarchy),
        ...filter ? [filter.hierarchy] : [],
      ];
      const hierarchies = [...new Set(needed)];
      const files = Map.groupBy(limits, ({ hierarchy }) => hierarchy);
      blueprint = {
        hierarchies,
        limits,
        openers: openersOf(limits),
        realtime: realtimeOf(limits),
        filter,
        files: new Map(Array.from(files, ([hierarchy, of]) => [hierarchy, new Set(of.flatMap(filesOf))])),
        template: this.#kernel.compile(cgroupProgram(hierarchies, limits)),
      };
      this.#blueprints.set(resources, blueprint);
      this.#forgotten.register(resources, blueprint.template);
    }
    return blueprint;
  }

  /** A cgroup that is there already. */
  open(path: string): Cgroup {
    return new Cgroup(
      this.#kernel,
      path,
      this.layout.hierarchies.filter((hierarchy) =>
        this.#kernel.attempt("faccessat", f.AT_FDCWD, `${hierarchy.path}${path}`, f.F_OK) === 0
      ),
    );
  }

  /** The paths of all cgroups below one, the deepest first. */
  below(parent: string): readonly string[] {
    const found = new Set<string>();
    const walk = (hierarchy: Hierarchy, path: string) => {
      if (this.#kernel.attempt("faccessat", f.AT_FDCWD, `${hierarchy.path}${path}`, f.F_OK) !== 0) return;
      for (const name of listFolders(this.#kernel, `${hierarchy.path}${path}`)) {
        walk(hierarchy, `${path}/${name}`);
        found.add(`${path}/${name}`);
      }
    };
    for (const hierarchy of this.layout.hierarchies) walk(hierarchy, parent);
    const depth = (path: string) => path.split("/").length;
    return [...found].sort((a, b) => depth(b) - depth(a));
  }

  /** Closes what is held for cgroups to come; those that are there stay as they are. */
  [Symbol.dispose](): void {
    this.#filters[Symbol.dispose]();
  }
}

function inUse(path: string, cause: unknown): Failure {
  return new Failure("already_exists", `cannot make cgroup ${JSON.stringify(path)}: it is there already`, { cause });
}

/** Where version 1 does not control devices, a program on version 2 does. */
interface DeviceFilter {
  readonly hierarchy: Hierarchy;
  readonly rules: readonly DeviceRule[];
}

/** The kernel's, in microseconds. */
const defaultRealtimePeriod = 1_000_000;

interface Realtime {
  readonly hierarchy: Hierarchy;
  readonly runtime: number;
  readonly period: number;
}

interface CgroupBlueprint {
  readonly hierarchies: readonly Hierarchy[];
  readonly limits: readonly Limit[];
  /** For each limit, the one that opens its file. */
  readonly openers: readonly number[];
  /** Where time for real-time processes is asked for. */
  readonly realtime: Realtime | undefined;
  readonly filter: DeviceFilter | undefined;
  /** The files of each hierarchy that are written. */
  readonly files: ReadonlyMap<Hierarchy, ReadonlySet<string>>;
  /** Its holes are the paths, under the names that they have at the hierarchy's root. */
  readonly template: Template;
}

function realtimeOf(limits: readonly Limit[]): Realtime | undefined {
  const value = (name: string) => limits.find(({ file }) => file === name)?.value;
  const runtime = Number(value(realtimeFiles.runtime) ?? 0);
  const hierarchy = limits.find(({ file }) => file === realtimeFiles.runtime)?.hierarchy;
  return hierarchy === undefined || runtime <= 0
    ? undefined
    : { hierarchy, runtime, period: Number(value(realtimeFiles.period) ?? defaultRealtimePeriod) };
}
