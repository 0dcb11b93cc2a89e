import { Failure } from "../../src/core/errors.ts";
import type { CreateTask, Runtime, Task } from "../../src/core/runtime.ts";
import type { Seccomp, Spec } from "../../src/core/spec.ts";
import { type Cgroup, Cgroups } from "../../src/linux/cgroup/mod.ts";
import type { Children } from "../../src/linux/children.ts";
import { setUndumpable } from "../../src/linux/dumpable.ts";
import { errno } from "../../src/linux/errno.ts";
import * as f from "../../src/linux/flags.ts";
import type { Kernel } from "../../src/linux/kernel.ts";
import { compileSeccomp, seccompFlags } from "../../src/linux/seccomp.ts";
import { syscallFailure } from "../../src/linux/syscall_failure.ts";
import { startFailure } from "./failure.ts";
import type { CgroupView, SourceKinds } from "./mounts.ts";
import { cloneFlagsOf } from "./namespaces.ts";
import { Pipes } from "./pipes.ts";
import { plan, type PlanOptions } from "./plan.ts";
import { Rights } from "./rights.ts";
import { type Settings, settingsOf } from "./settings.ts";
import { NativeTask } from "./task.ts";

export interface NativeRuntimeParts {
  readonly kernel: Kernel;
  readonly children: Children;
  readonly cgroups: Cgroups;
  /** A folder of this runtime's own, for the root filesystem's mount point. */
  readonly folder: string;
  /** The cgroup below which containers get theirs, for example `/mayfly`. */
  readonly cgroupParent: string;
}

const validId = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/;

/** Runs containers with system calls alone. */
export class NativeRuntime implements Runtime {
  readonly id = "native";
  readonly #parts: NativeRuntimeParts;
  readonly #rights: Rights;
  readonly #tasks = new Map<string, Task>();
  readonly #filters = new WeakMap<Seccomp, PlanOptions["seccomp"]>();

  constructor(parts: NativeRuntimeParts) {
    const { kernel, folder } = parts;
    this.#parts = parts;
    this.#rights = new Rights(kernel);
    // Until it executes, a child shares this process's memory: nobody else may look into either.
    setUndumpable(kernel);
    makeFolder(kernel, folder);
  }

  tasks(): readonly Task[] {
    return [...this.#tasks.values()];
  }

  async create({ id, spec, rootfs, stdio }: CreateTask): Promise<Task> {
    if (!validId.test(id)) {
      throw new Failure(
        "invalid_argument",
        `cannot create container ${
          JSON.stringify(id.slice(0, 140))
        }: want an id of 1 to 128 of A-Z a-z 0-9 _ . -, beginning with a letter or digit`,
      );
    }
    if (this.#tasks.has(id)) {
      throw new Failure("already_exists", `cannot create container ${JSON.stringify(id)}: there is one of this id`);
    }
    const { kernel, children, cgroups, folder } = this.#parts;
    const settings = settingsOf(spec);
    this.#rights.check(spec, settings.identity, settings.rlimits);
    const seccomp = this.#filter(spec.linux.seccomp);
    const kinds = this.#kinds(settings);
    const path = this.#cgroupPath(id, spec);
    const resources = spec.linux.resources ?? {};
    cgroups.check(resources);
    const options = { settings, rootfs, folder, kinds, seccomp };
    // Planned once without pipes and cgroups, a root filesystem that cannot be mounted is refused before either is made.
    plan(spec, { ...options, stdio: nothing, cgroupProcs: [], cgroupViews: [] });

    const cgroup = cgroups.create(path, resources);
    try {
      const pipes = new Pipes(kernel, stdio);
      const spawn = () => {
        const program = plan(spec, {
          ...options,
          stdio: pipes.ends,
          cgroupProcs: cgroup.procs,
          cgroupViews: viewsOf(cgroup),
        });
        try {
          return kernel.spawn(program, { flags: cloneFlagsOf(settings.namespaces) });
        } catch (error) {
          throw startFailure(id, spec, program, error);
        }
      };
      const task = new NativeTask({
        id,
        kernel,
        children,
        cgroup,
        pipes,
        initIsLast: settings.namespaces.made.has("pid"),
        spawn,
        onDelete: () => this.#tasks.delete(id),
      });
      this.#tasks.set(id, task);
      return task;
    } catch (error) {
      await cgroup.remove();
      throw error;
    }
  }

  async recover(): Promise<readonly string[]> {
    const { cgroups, cgroupParent } = this.#parts;
    const ids = new Set<string>();
    for (const path of cgroups.below(cgroupParent)) {
      const id = path.slice(cgroupParent.length + 1).split("/")[0] ?? "";
      if (this.#tasks.has(id)) continue;
      const cgroup = cgroups.open(path);
      await cgroup.kill();
      await cgroup.remove();
      ids.add(id);
    }
    return [...ids];
  }

  #filter(seccomp: Spec["linux"]["seccomp"]): PlanOptions["seccomp"] {
    if (!seccomp) return undefined;
    let filter = this.#filters.get(seccomp);
    if (filter === undefined) {
      filter = { filter: compileSeccomp(seccomp, this.#parts.kernel.host.arch), flags: seccompFlags(seccomp) };
      this.#filters.set(seccomp, filter);
    }
    return filter;
  }

  /** @throws invalid_argument for a bind mount whose source is not there. */
  #kinds({ mounts }: Settings): SourceKinds {
    const kinds = new Map<string, "folder" | "file">();
    for (const { type, source } of mounts) {
      if (type === "bind") kinds.set(source, this.#kind(source));
    }
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

  /** A relative path is below this runtime's own cgroup, where `recover` finds it. */
  #cgroupPath(id: string, spec: Spec): string {
    const path = spec.linux.cgroupsPath ?? "";
    if (path === "") return `${this.#parts.cgroupParent}/${id}`;
    const parts = path.split("/").filter((part) => part !== "");
    if (parts.length === 0 || parts.includes("..") || parts.includes(".") || /^[^/]*:[^/]*:/.test(path)) {
      throw new Failure(
        "invalid_argument",
        `cannot use linux.cgroupsPath ${JSON.stringify(path)}: want a path of names`,
        {
          details: { field: "linux.cgroupsPath" },
        },
      );
    }
    return path.startsWith("/") ? `/${parts.join("/")}` : `${this.#parts.cgroupParent}/${parts.join("/")}`;
  }
}

const nothing = { stdin: undefined, stdout: undefined, stderr: undefined };

function viewsOf({ folders }: Cgroup): readonly CgroupView[] {
  const alone = folders.size === 1;
  return Array.from(folders, ([{ version, name }, path]) => ({
    name: alone && version === 2 ? "" : name,
    path,
    version,
  }));
}

function makeFolder(kernel: Kernel, folder: string): void {
  let path = "";
  for (const part of folder.split("/").filter((each) => each !== "")) {
    path += `/${part}`;
    const result = kernel.attempt("mkdirat", f.AT_FDCWD, path, 0o700);
    if (result < 0 && result !== -errno.EEXIST) {
      throw syscallFailure(`cannot make folder ${JSON.stringify(path)}`, "mkdirat", result);
    }
  }
}
