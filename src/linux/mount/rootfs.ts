import { Failure } from "../../core/errors.ts";
import { type Mount, type Rootfs, withUpper } from "../../core/mount.ts";
import * as f from "../flags.ts";
import type { Operation } from "../program.ts";
import { parseMountOptions } from "./options.ts";
import { mount, quote } from "./step.ts";

/** The data of mount(2) is one page, its NUL included. */
const longestData = 4095;

/** What the first step with mounts is called: it fails where / is no mount point. */
export const cutOff = "cut mounts off from the host";

/** Keeps what is mounted from here on out of the host's mount namespace; the host's unmounts still come through. */
export function* isolateMounts(): Generator<Operation> {
  yield mount(0, "/", { flags: f.MS_SLAVE | f.MS_REC, why: cutOff });
}

/**
 * Mounts the root filesystem at an empty folder, or with `scratch` as a writable overlay on a tmpfs there, and makes it
 * the working directory. All of it is in the child's own mount namespace: every child uses the same folder.
 * @param options.user whether overlayfs is to keep its attributes where a user may: root's it could not write.
 * @returns the root's path.
 */
export function* mountRootfs(
  rootfs: Rootfs,
  folder: string,
  { user = false }: { readonly user?: boolean } = {},
): Generator<Operation, string> {
  const { mounts, scratch } = rootfs;
  if (scratch === undefined && !mounts.some(isLong)) {
    for (const each of mounts) yield* mountAt(each, folder, folder);
    yield chdir(folder, "enter the root filesystem");
    return folder;
  }
  yield mount("tmpfs", folder, {
    type: "tmpfs",
    flags: f.MS_NODEV,
    // A size of 0 would be no limit.
    data: `mode=700,size=${Math.max(scratch?.sizeBytes ?? 1, 1)}`,
    why: `mount tmpfs on ${quote(folder)}`,
  });
  const merged = `${folder}/m`;
  yield makeFolder(merged);
  if (scratch === undefined) {
    for (const each of mounts) yield* mountAt(each, merged, folder);
  } else {
    const [upper, work] = [`${folder}/u`, `${folder}/w`];
    const overlay = withUpper(mounts, upper, work);
    const own = user && overlay?.options.includes("userxattr") === false ? ["userxattr"] : [];
    if (overlay === undefined) {
      throw new Failure(
        "invalid_argument",
        "cannot lay a scratch layer over these mounts: want one read-only overlay or bind mount",
        { details: { mounts } },
      );
    }
    yield makeFolder(upper);
    yield makeFolder(work);
    yield* mountAt({ ...overlay, options: [...overlay.options, ...own] }, merged, folder);
  }
  yield chdir(merged, "enter the root filesystem");
  return merged;
}

function* mountAt({ type, source, options }: Mount, target: string, folder: string): Generator<Operation> {
  const parsed = parseMountOptions(options);
  if (parsed.idmap !== undefined) {
    throw new Failure("unimplemented", `cannot mount the root filesystem with option ${quote(parsed.idmap)}`);
  }
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
  let data = parsed.data;
  if (isLong({ type, source, options: data })) {
    const links = `${folder}/l`;
    yield makeFolder(links);
    data = yield* linkLayers(data, links);
    yield chdir(links, "enter the folder of the layers' links");
  }
  yield mount(source, target, { type, flags: parsed.flags, data: data.join(","), why });
}

const lowerdir = "lowerdir=";

/** Whether the layers' paths are more than the kernel takes with a mount. */
function isLong({ type, options }: Mount): boolean {
  return type === "overlay" && options.join(",").length > longestData;
}

/** The layers' paths in a `lowerdir` option, whose colons and backslashes are escaped. */
export function splitLayers(value: string): readonly string[] {
  return value.split(/(?<!\\):/).map((layer) => layer.replace(/\\(.)/g, "$1"));
}

/** Gives each layer a short name: a link in a folder of the tmpfs, which is to be the working directory of the mount. */
function* linkLayers(data: readonly string[], folder: string): Generator<Operation, readonly string[]> {
  const option = data.find((each) => each.startsWith(lowerdir)) ?? lowerdir;
  const names: string[] = [];
  for (const [index, path] of splitLayers(option.slice(lowerdir.length)).entries()) {
    // An empty one stands before layers that hold data alone.
    names.push(path === "" ? "" : String(index));
    if (path === "") continue;
    const why = `link layer ${quote(path)}`;
    yield { syscall: "symlinkat", args: [path, f.AT_FDCWD, `${folder}/${index}`], why };
  }
  return data.map((each) => each === option ? lowerdir + names.join(":") : each);
}

function makeFolder(path: string): Operation {
  return { syscall: "mkdirat", args: [f.AT_FDCWD, path, 0o755], why: `make folder ${quote(path)}` };
}

export function chdir(path: string, why: string): Operation {
  return { syscall: "chdir", args: [path], why };
}
