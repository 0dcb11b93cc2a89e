import { Failure } from "../../src/core/errors.ts";
import type { Spec, SpecMount } from "../../src/core/spec.ts";
import * as f from "../../src/linux/flags.ts";
import type { Argument, Operation } from "../../src/linux/program.ts";
import { type MountOptions, parseMountOptions } from "../../src/linux/mount/options.ts";
import { mapHeld, type MountMapping, mountMappingOf } from "./mount_mapping.ts";
import { type Namespaces, sharesHosts } from "./namespaces.ts";
import { attach, clean, close, file, find, folders, mount, quote } from "./steps.ts";

/** One of `spec.mounts`, ready to be planned. */
export interface ContainerMount {
  readonly target: string;
  readonly type: string;
  readonly source: string;
  readonly options: MountOptions;
  /** Undefined where its ids are those of the source. */
  readonly mapping: MountMapping | undefined;
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
export function mountsOf(spec: Spec, namespaces: Namespaces): readonly ContainerMount[] {
  const { made } = namespaces;
  return (spec.mounts ?? []).map((entry, index) => {
    const field = `mounts[${index}]`;
    const options = parseMountOptions(entry.options ?? []);
    const type = options.remount ? "remount" : options.bind ? "bind" : entry.type ?? "";
    const target = clean(entry.destination);
    refuse(entry, type, field);
    if (options.copyUp && type !== "tmpfs") throw invalid(field, "tmpcopyup is for a tmpfs");
    if (target === "/") throw invalid(field, "the root itself cannot be mounted over");
    if (type === "mqueue" && sharesHosts(namespaces, "ipc")) {
      throw invalid(field, "mqueue needs an ipc namespace that is not the host's");
    }
    if (type === "cgroup" && !made.has("cgroup")) throw invalid(field, "cgroup needs a new cgroup namespace");
    const mapping = mountMappingOf(entry, { field, type, word: options.idmap, spec, namespaces });
    const labelled = withLabel(options, type, spec.linux.mountLabel);
    return { target, type, source: entry.source ?? type, options: labelled, mapping };
  });
}

/** The filesystems that take SELinux's label for all of their files. */
const labelled: ReadonlySet<string> = new Set(["tmpfs", "ramfs", "devpts", "overlay"]);

function withLabel(options: MountOptions, type: string, label = ""): MountOptions {
  if (label === "" || !labelled.has(type) || options.data.some((option) => option.startsWith("context="))) {
    return options;
  }
  return { ...options, data: [...options.data, `context=${JSON.stringify(label)}`] };
}

function refuse(entry: SpecMount, type: string, field: string): void {
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
  yield* mapHeld(mounts);
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
 * Mounts everything at its place. It runs in the new root, where no path leads outside, whatever links the image has; each
 * place is opened once, and mounted on by its descriptor. Where the kernel's own filesystems go, no link is followed
 * either: masked and read-only paths are told by name.
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
    const { target, type, source } = entry;
    const place = `place:${index}`;
    const why = `mount ${type} on ${quote(target)}`;
    if (type === "bind") {
      if (kinds.get(source) === "file") yield* file(target, made);
      else yield* folders(target, made);
      yield find(target, place, { why });
      yield attach(`mount:${index}`, place, why);
      yield close(`mount:${index}`, why);
      yield close(place, why);
    } else {
      yield* folders(target, made);
      yield* enter(target, place, why);
      if (type === "cgroup") yield* attachCgroups(entry, context.cgroups, made, why);
      else yield* mountHere(entry, place, why);
    }
    // What was there is hidden now.
    for (const path of made) if (path.startsWith(`${target}/`)) made.delete(path);
    if (target === "/dev") yield* afterDev();
  }
  yield { syscall: "fchdir", args: [{ ref: "root" }], why: "go back to the root" };
}

/** Makes a folder the working directory, which is where `mountHere` mounts. */
function* enter(target: string, place: string, why: string): Generator<Operation> {
  const kernels = /^\/(?:proc|sys|dev)$/.test(target);
  const found = `find a folder${kernels ? " and no link" : ""} at ${quote(target)} of the image`;
  yield find(target, place, { why: found, folder: true, links: !kernels });
  yield { syscall: "fchdir", args: [{ ref: place }], why };
  yield close(place, why);
}

/** Mounts a filesystem on the working directory, and sets what a mount of it has of its own. */
function* mountHere(
  { target, type, source, options }: ContainerMount,
  place: string,
  why: string,
): Generator<Operation> {
  const { flags, propagation, recursive, copyUp, remount, bind } = options;
  const data = options.data.join(",");
  if (remount) yield mount(0, ".", { flags: flags | f.MS_REMOUNT | (bind ? f.MS_BIND : 0), data, why });
  else yield mount(source, ".", { type, flags, data, why });
  const below = recursive.set !== 0 || recursive.clear !== 0;
  if (!copyUp && propagation === 0 && !below) return;
  yield find(target, place, { why, folder: true });
  if (copyUp) {
    yield* copyUpHere(options, place, why);
    yield close(place, why);
    yield find(target, place, { why, folder: true });
  }
  if (propagation !== 0) {
    const all = (propagation & f.MS_REC) !== 0 ? f.AT_RECURSIVE : 0;
    yield setAttributes(place, all, [0, 0, propagation & ~f.MS_REC, 0], `the mount on ${quote(target)}`);
  }
  if (below) yield setAttributes(place, f.AT_RECURSIVE, [recursive.set, recursive.clear, 0, 0], quote(target));
  yield close(place, why);
}

/**
 * Shows the image's folder through a tmpfs: an overlay, whose changes are in the tmpfs that has just been mounted. The
 * working directory still is the folder below it.
 * @param place the tmpfs.
 */
function* copyUpHere({ data }: MountOptions, place: string, why: string): Generator<Operation> {
  const mode = Number.parseInt(
    data.findLast((option) => option.startsWith("mode="))?.slice("mode=".length) ?? "755",
    8,
  );
  for (const [name, bits] of [["upper", mode], ["work", 0o700]] as const) {
    yield { syscall: "mkdirat", args: [{ ref: place }, name, bits], why: `make a folder to ${why}` };
  }
  // The kernel takes all three by their paths, which begin at the tmpfs.
  const lower = `${place}:lower`;
  yield { syscall: "openat", args: [f.AT_FDCWD, ".", f.O_PATH | f.O_DIRECTORY | f.O_CLOEXEC, 0], store: lower, why };
  yield {
    syscall: "open_tree",
    args: [{ ref: lower }, "", f.OPEN_TREE_CLONE | f.OPEN_TREE_CLOEXEC | f.AT_EMPTY_PATH],
    store: `${lower}:tree`,
    why,
  };
  yield { syscall: "mkdirat", args: [{ ref: place }, "lower", 0o700], why };
  yield {
    syscall: "move_mount",
    args: [{ ref: `${lower}:tree` }, "", { ref: place }, "lower", f.MOVE_MOUNT_F_EMPTY_PATH],
    why,
  };
  yield { syscall: "fchdir", args: [{ ref: place }], why };
  yield mount("overlay", ".", { type: "overlay", data: "lowerdir=lower,upperdir=upper,workdir=work", why });
  yield close(`${lower}:tree`, why);
  yield close(lower, why);
}

/**
 * The container's view of its cgroups. With v2 alone it is that hierarchy; else a folder for each hierarchy on a tmpfs, as
 * systemd lays them out on a host.
 */
function* attachCgroups(
  { target, options }: ContainerMount,
  cgroups: readonly CgroupView[],
  made: Set<string>,
  why: string,
): Generator<Operation> {
  const flags = options.flags;
  const [first] = cgroups;
  if (first?.name === "") {
    yield mount("cgroup", ".", { type: "cgroup2", flags, why: `mount cgroup2 on ${quote(target)}` });
    return;
  }
  yield mount("cgroup", ".", { type: "tmpfs", data: "mode=755", why: `mount tmpfs for cgroups on ${quote(target)}` });
  const place = "place:cgroups";
  for (const { name, version } of cgroups) {
    const path = `${target}/${name}`;
    yield* folders(path, made);
    yield find(path, place, { why, folder: true });
    if (version === 1) {
      yield attach(`cgroup:${name}`, place, `mount cgroup on ${quote(path)}`);
      yield close(`cgroup:${name}`, why);
    } else {
      yield { syscall: "fchdir", args: [{ ref: place }], why };
      yield mount("cgroup", ".", { type: "cgroup2", flags, why: `mount cgroup2 on ${quote(path)}` });
    }
    yield close(place, why);
  }
  yield find(target, place, { why, folder: true });
  // All of it at once: nobody could use it before.
  const attributes = [options.attributes.set, options.attributes.clear, f.MS_PRIVATE, 0];
  yield setAttributes(place, f.AT_RECURSIVE, attributes, quote(target));
  yield close(place, why);
}
