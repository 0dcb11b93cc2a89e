import { Failure } from "../../src/core/errors.ts";
import { type Mount, type Rootfs, withUpper } from "../../src/core/mount.ts";
import type { Spec } from "../../src/core/spec.ts";
import * as f from "../../src/linux/flags.ts";
import type { Operation } from "../../src/linux/program.ts";
import { type MountOptions, parseMountOptions, propagationFlags } from "./mount_options.ts";
import { folders, mount, quote } from "./steps.ts";

/** The data of mount(2) is one page, its NUL included. */
const longestData = 4095;

/** Keeps what is mounted from here on out of the host's mount namespace; the host's unmounts still come through. */
export function* isolateMounts(): Generator<Operation> {
  yield mount(0, "/", { flags: f.MS_SLAVE | f.MS_REC, why: "cut mounts off from the host" });
}

/**
 * Mounts the root filesystem at an empty folder, or with `scratch` as a writable overlay on a tmpfs there, and makes it
 * the working directory. All of it is in the child's own mount namespace: every child uses the same folder.
 */
export function* mountRootfs(rootfs: Rootfs, folder: string): Generator<Operation> {
  if (rootfs.scratch === undefined) {
    for (const each of rootfs.mounts) yield* mountAt(each, folder);
    yield chdir(folder, "enter the root filesystem");
    return;
  }
  const [upper, work, merged] = [`${folder}/u`, `${folder}/w`, `${folder}/m`];
  const overlay = withUpper(rootfs.mounts, upper, work);
  if (overlay === undefined) {
    throw new Failure(
      "invalid_argument",
      "cannot lay a scratch layer over these mounts: want one read-only overlay or bind mount",
      { details: { mounts: rootfs.mounts } },
    );
  }
  yield mount("tmpfs", folder, {
    type: "tmpfs",
    flags: f.MS_NODEV,
    data: `mode=700,size=${Math.max(rootfs.scratch.sizeBytes, 1)}`,
    why: `mount tmpfs for the writable layer on ${quote(folder)}`,
  });
  for (const path of [upper, work, merged]) {
    yield { syscall: "mkdirat", args: [f.AT_FDCWD, path, 0o755], why: `make folder ${quote(path)}` };
  }
  yield* mountAt(overlay, merged);
  yield chdir(merged, "enter the root filesystem");
}

function* mountAt({ type, source, options }: Mount, target: string): Generator<Operation> {
  const parsed = parseMountOptions(options);
  const why = `mount ${type} ${quote(source)} as the root filesystem`;
  if (type === "bind" || parsed.bind) {
    yield mount(source, target, { flags: f.MS_BIND | (parsed.rbind ? f.MS_REC : 0), why });
    if (parsed.attributes.set !== 0 || parsed.attributes.clear !== 0) {
      yield {
        syscall: "mount_setattr",
        args: [f.AT_FDCWD, target, 0, [parsed.attributes.set, parsed.attributes.clear, 0, 0], 32],
        why: `set mount attributes of the root filesystem`,
      };
    }
    return;
  }
  yield* mountFilesystem(type, source, target, parsed, why);
}

function* mountFilesystem(
  type: string,
  source: string,
  target: string,
  { flags, data }: MountOptions,
  why: string,
): Generator<Operation> {
  const joined = data.join(",");
  if (type !== "overlay" || joined.length <= longestData) {
    yield mount(source, target, { type, flags, data: joined, why });
    return;
  }
  const { folder, options } = shorten(data);
  const short = options.join(",");
  if (short.length > longestData) {
    throw new Failure(
      "resource_exhausted",
      `cannot mount the image's layers: their paths take ${short.length} bytes of mount options, the kernel takes ${longestData}`,
      { details: { bytes: short.length, limit: longestData } },
    );
  }
  yield chdir(folder, "enter the layers' common folder, so that their paths fit into one page");
  yield mount(source, target, { type, flags, data: short, why });
}

/** Makes the paths of an overlay's lower folders relative to the folder that all of them are in. */
function shorten(data: readonly string[]): { readonly folder: string; readonly options: readonly string[] } {
  const key = "lowerdir=";
  const option = data.find((each) => each.startsWith(key)) ?? key;
  const layers = option.slice(key.length).split(/(?<!\\):/);
  const first = layers[0] ?? "/";
  let length = first.lastIndexOf("/");
  while (length > 0 && !layers.every((layer) => layer === "" || layer.startsWith(first.slice(0, length + 1)))) {
    length = first.lastIndexOf("/", length - 1);
  }
  const folder = first.slice(0, length + 1);
  const relative = layers.map((layer) => layer.slice(folder.length)).join(":");
  return {
    folder: folder.replace(/\\(.)/g, "$1"),
    options: data.map((each) => each === option ? key + relative : each),
  };
}

function chdir(path: string, why: string): Operation {
  return { syscall: "chdir", args: [path], why };
}

/** Makes the working directory the root, and lets go of the host's filesystem: from here on every path is inside. */
export function* pivotRoot(): Generator<Operation> {
  yield { syscall: "pivot_root", args: [".", "."], why: "make the root filesystem the root" };
  yield { syscall: "umount2", args: [".", f.MNT_DETACH], why: "let go of the host's filesystem" };
  yield chdir("/", "enter the new root");
}

/** What is set on the root itself once everything is mounted: the working directory, propagation, read-only. */
export function* sealRootfs(spec: Spec, cwd: string, made: Set<string>): Generator<Operation> {
  yield* folders(cwd, made);
  const propagation = propagationFlags(spec.linux.rootfsPropagation ?? "");
  if (propagation !== 0) yield mount(0, "/", { flags: propagation, why: "set the root's mount propagation" });
  if (spec.root?.readonly === true) {
    yield {
      syscall: "mount_setattr",
      args: [f.AT_FDCWD, "/", 0, [f.MOUNT_ATTR_RDONLY, 0, 0, 0], 32],
      why: "make the root read-only",
    };
  }
}
