import { Failure } from "../../core/errors.ts";
import type { SpecResources } from "../../core/spec.ts";
import * as f from "../flags.ts";
import type { Kernel } from "../kernel.ts";
import type { Operation } from "../program.ts";
import { Cgroup } from "./cgroup.ts";
import type { Hierarchy, Layout } from "./layout.ts";
import { type Limit, limitsOf } from "./limits.ts";
import { inheritCpuset, makeParents } from "./parents.ts";
import { listFolders } from "./read.ts";

export { Cgroup } from "./cgroup.ts";

/** Controllers that every cgroup has where the machine has them: those that limit and those that count. */
const always = ["memory", "pids", "cpu", "cpuacct", "devices", "blkio", "io"];

/** Makes and finds cgroups, whichever versions the machine has. A path here begins at each hierarchy's own root. */
export class Cgroups {
  readonly layout: Layout;
  readonly #kernel: Kernel;
  readonly #always: readonly Hierarchy[];
  /** The folders above cgroups that are known to be there. */
  readonly #parents = new Set<string>();

  constructor(kernel: Kernel, layout: Layout) {
    this.#kernel = kernel;
    this.layout = layout;
    this.#always = layout.hierarchies.filter(({ controllers, version }) =>
      controllers.some((controller) => always.includes(controller)) ||
      // Where it is the only hierarchy, processes have to be somewhere in it.
      version === 2 && layout.hierarchies.length === 1
    );
  }

  /**
   * Checks that limits can be set, without setting any.
   * @throws failed_precondition where a controller is missing; unimplemented for a limit that its version does not have.
   */
  check(resources: SpecResources): void {
    limitsOf(resources, this.layout);
  }

  /**
   * Makes a cgroup with its limits, in one entry to the kernel.
   * @param path absolute, for example `/mayfly/x`; folders above it are made where they are missing.
   * @throws already_exists; as `check`; invalid_argument for a value that the kernel refuses.
   */
  create(path: string, resources: SpecResources): Cgroup {
    const limits = limitsOf(resources, this.layout);
    const hierarchies = new Set([...this.#always, ...limits.map(({ hierarchy }) => hierarchy)]);
    const cgroup = new Cgroup(this.#kernel, path, [...hierarchies]);
    const parent = path.slice(0, path.lastIndexOf("/"));
    for (const hierarchy of hierarchies) {
      const key = `${hierarchy.path}${parent}`;
      if (this.#parents.has(key)) continue;
      makeParents(this.#kernel, hierarchy, parent);
      this.#parents.add(key);
    }
    try {
      this.#kernel.run([...makeFolders(cgroup), ...writeLimits(cgroup, limits)]);
      for (const [{ version, controllers, path: root }, folder] of cgroup.folders) {
        if (version === 1 && controllers.includes("cpuset")) inheritCpuset(this.#kernel, `${root}${parent}`, folder);
      }
    } catch (error) {
      if (error instanceof Failure && error.code === "already_exists") throw inUse(path, error);
      // Somebody may have removed the folders above: the next create makes them again.
      this.#parents.clear();
      cgroup.tryRemove();
      throw error;
    }
    return cgroup;
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
}

function inUse(path: string, cause: unknown): Failure {
  return new Failure("already_exists", `cannot make cgroup ${JSON.stringify(path)}: it is there already`, { cause });
}

function* makeFolders(cgroup: Cgroup): Generator<Operation> {
  for (const folder of cgroup.folders.values()) {
    yield { syscall: "mkdirat", args: [f.AT_FDCWD, folder, 0o755], why: `make cgroup ${JSON.stringify(folder)}` };
  }
}

const encoder = new TextEncoder();

/** Opens each file once, however many values go into it in a row. */
function* writeLimits(cgroup: Cgroup, limits: readonly Limit[]): Generator<Operation> {
  let open: string | undefined;
  for (const [index, { hierarchy, file, value, field, optional }] of limits.entries()) {
    const path = `${cgroup.folders.get(hierarchy)}/${file}`;
    const why = `set ${field} to ${JSON.stringify(value)}`;
    const next = `limit:${index}`;
    if (open !== path) {
      yield {
        syscall: "openat",
        args: [f.AT_FDCWD, path, f.O_WRONLY | f.O_CLOEXEC, 0],
        store: "limit",
        why,
        ...(optional === true ? { onError: { goto: next } } : {}),
      };
      open = path;
    }
    const bytes = encoder.encode(value);
    yield { syscall: "write", args: [{ ref: "limit" }, bytes, bytes.length], why };
    const following = limits[index + 1];
    if (following?.hierarchy !== hierarchy || following.file !== file) {
      yield { syscall: "close", args: [{ ref: "limit" }], why, onError: "ignore" };
    }
    if (optional === true) yield { syscall: "getpid", args: [], why: "go on", label: next };
  }
}
