import { Failure } from "../../src/core/errors.ts";
import type { Spec, SpecMount } from "../../src/core/spec.ts";
import * as f from "../../src/linux/flags.ts";
import type { Argument, Operation } from "../../src/linux/program.ts";
import { type MountOptions, parseMountOptions } from "../../src/linux/mount/options.ts";
import type { Namespaces } from "./namespaces.ts";
import { clean, file, folders, mount, quote } from "./steps.ts";

/** One of `spec.mounts`, ready to be planned. */
export interface ContainerMount {
  readonly target: string;
  readonly type: string;
  readonly source: string;
  readonly options: MountOptions;
}

/**
 * A cgroup hierarchy as the container sees it, below the place where its spec mounts cgroups. For version 1, the hole
 * `cgroup:<name>` is the container's own cgroup on the host.
 */
export interface CgroupView {
  /** The folder's name (`memory`); empty where the hierarchy itself is mounted there (cgroup v2 alone). */
  readonly name: string;
  readonly version: 1 | 2;
}

/** Whether a bind's source is a folder or something else; unknown sources are refused before this. */
export type SourceKinds = ReadonlyMap<string, "folder" | "file">;

/**
 * Reads `spec.mounts`.
 * @throws invalid_argument for a mount that cannot be; unimplemented for one that this runtime cannot make.
 */
export function mountsOf(spec: Spec, { made }: Namespaces): readonly ContainerMount[] {
  return (spec.mounts ?? []).map((entry, index) => {
    const field = `mounts[${index}]`;
    const options = parseMountOptions(entry.options ?? []);
    const type = options.bind ? "bind" : entry.type ?? "";
    const target = clean(entry.destination);
    refuse(entry, type, field);
    if (target === "/") throw invalid(field, "the root itself cannot be mounted over");
    if (type === "mqueue" && !made.has("ipc")) throw invalid(field, "mqueue needs a new ipc namespace");
    if (type === "cgroup" && !made.has("cgroup")) throw invalid(field, "cgroup needs a new cgroup namespace");
    return { target, type, source: entry.source ?? type, options };
  });
}

function refuse(entry: SpecMount, type: string, field: string): void {
  if (entry.uidMappings?.length || entry.gidMappings?.length) {
    throw new Failure("unimplemented", `cannot use ${field}: id-mapped mounts are not supported yet`, {
      details: { field },
    });
  }
  if (type === "") throw invalid(field, `${quote(entry.destination)} has no type`);
  if (type === "bind" && !entry.source?.startsWith("/")) {
    throw invalid(field, `the source of a bind mount has to be an absolute path, not ${quote(entry.source ?? "")}`);
  }
}

function invalid(field: string, text: string): Failure {
  return new Failure("invalid_argument", `cannot use ${field}: ${text}`, { details: { field } });
}

/**
 * Takes hold of everything on the host that will be mounted in the container, while the host can still be seen. What is
 * held here is attached by `attachMounts`, and its attributes are set while nobody can reach it.
 */
export function* holdSources(mounts: readonly ContainerMount[], cgroups: readonly CgroupView[]): Generator<Operation> {
  for (const [index, { type, source, options, target }] of mounts.entries()) {
    if (type === "bind") {
      const store = `mount:${index}`;
      const why = `bind ${quote(source)} for ${quote(target)}`;
      yield hold(store, source, options.rbind, why);
      yield* shape(store, options, why);
    } else if (type === "cgroup") {
      for (const { name, version } of cgroups) {
        if (version === 1) {
          yield hold(`cgroup:${name}`, { hole: `cgroup:${name}` }, false, `bind cgroup ${quote(name)}`);
        }
      }
    }
  }
}

function hold(store: string, source: Argument, recursive: boolean, why: string): Operation {
  const flags = f.OPEN_TREE_CLONE | f.OPEN_TREE_CLOEXEC | (recursive ? f.AT_RECURSIVE : 0);
  return { syscall: "open_tree", args: [f.AT_FDCWD, source, flags], store, why };
}

/** Sets the attributes and the propagation of a bind. */
function* shape(store: string, options: MountOptions, why: string): Generator<Operation> {
  const { attributes, recursive, rbind } = options;
  const propagation = options.propagation === 0 ? f.MS_PRIVATE | f.MS_REC : options.propagation;
  const all = (propagation & f.MS_REC) !== 0;
  const own = [attributes.set, attributes.clear, all && rbind ? 0 : propagation & ~f.MS_REC, 0];
  yield setAttributes(store, 0, own, why);
  // One call changes either one mount or all below it, in the same way.
  const below = [recursive.set, recursive.clear, all ? propagation & ~f.MS_REC : 0, 0];
  if (rbind && below.some((value) => value !== 0)) yield setAttributes(store, f.AT_RECURSIVE, below, why);
}

function setAttributes(store: string, flags: number, attributes: readonly number[], why: string): Operation {
  return {
    syscall: "mount_setattr",
    args: [{ ref: store }, "", f.AT_EMPTY_PATH | flags, attributes, 32],
    why: `set attributes to ${why}`,
  };
}

/**
 * Mounts everything at its place. It runs in the new root, where no path leads outside, whatever links the image has.
 * Where the kernel's own filesystems go, no link is followed either: masked and read-only paths are told by name.
 *
 * @param afterDev steps for the device nodes, which go into `/dev` before anything is mounted below it.
 */
export function* attachMounts(
  mounts: readonly ContainerMount[],
  context: { readonly cgroups: readonly CgroupView[]; readonly kinds: SourceKinds; readonly made: Set<string> },
  afterDev: () => Iterable<Operation>,
): Generator<Operation> {
  const { kinds, made } = context;
  const hasDev = mounts.some(({ target }) => target === "/dev");
  if (!hasDev) yield* afterDev();
  for (const [index, entry] of mounts.entries()) {
    const { target, type, source, options } = entry;
    const why = `mount ${type} on ${quote(target)}`;
    if (type === "bind") {
      if (kinds.get(source) === "file") yield* file(target, made);
      else yield* folders(target, made);
      yield attach(`mount:${index}`, target, why);
    } else {
      yield* folders(target, made);
      if (/^\/(?:proc|sys|dev)$/.test(target)) yield* refuseLinks(target);
      if (type === "cgroup") yield* attachCgroups(entry, context.cgroups, made);
      else yield mount(source, target, { type, flags: options.flags, data: options.data.join(","), why });
      if (type !== "cgroup" && options.propagation !== 0) {
        yield mount(0, target, { flags: options.propagation, why: `set propagation of ${quote(target)}` });
      }
    }
    // What was there is hidden now.
    for (const path of made) if (path.startsWith(`${target}/`)) made.delete(path);
    if (target === "/dev") yield* afterDev();
  }
}

function attach(store: string, target: string, why: string): Operation {
  return {
    syscall: "move_mount",
    args: [{ ref: store }, "", f.AT_FDCWD, target, f.MOVE_MOUNT_F_EMPTY_PATH | f.MOVE_MOUNT_T_SYMLINKS],
    why,
  };
}

function* refuseLinks(target: string): Generator<Operation> {
  yield {
    syscall: "openat2",
    args: [
      f.AT_FDCWD,
      target,
      [f.O_PATH | f.O_DIRECTORY | f.O_NOFOLLOW | f.O_CLOEXEC, 0, f.RESOLVE_NO_SYMLINKS],
      24,
    ],
    store: `check:${target}`,
    why: `find a folder and no link at ${quote(target)} of the image`,
  };
  yield { syscall: "close", args: [{ ref: `check:${target}` }], why: `close ${quote(target)}`, onError: "ignore" };
}

/**
 * The container's view of its cgroups. With v2 alone it is that hierarchy; else a folder for each hierarchy on a tmpfs, as
 * systemd lays them out on a host.
 */
function* attachCgroups(
  { target, options }: ContainerMount,
  cgroups: readonly CgroupView[],
  made: Set<string>,
): Generator<Operation> {
  const flags = options.flags;
  const [first] = cgroups;
  if (first?.name === "") {
    yield mount("cgroup", target, { type: "cgroup2", flags, why: `mount cgroup2 on ${quote(target)}` });
    return;
  }
  yield mount("cgroup", target, {
    type: "tmpfs",
    data: "mode=755",
    why: `mount tmpfs for cgroups on ${quote(target)}`,
  });
  for (const { name, version } of cgroups) {
    const path = `${target}/${name}`;
    yield* folders(path, made);
    if (version === 1) yield attach(`cgroup:${name}`, path, `mount cgroup on ${quote(path)}`);
    else yield mount("cgroup", path, { type: "cgroup2", flags, why: `mount cgroup2 on ${quote(path)}` });
  }
  // All of it at once: nobody could use it before.
  const attributes = [options.attributes.set, options.attributes.clear, f.MS_PRIVATE, 0];
  yield {
    syscall: "mount_setattr",
    args: [f.AT_FDCWD, target, f.AT_RECURSIVE, attributes, 32],
    why: `set attributes of ${quote(target)}`,
  };
}
