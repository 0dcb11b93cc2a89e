import { Failure } from "../../core/errors.ts";
import { type Rootfs, withUpper } from "../../core/mount.ts";
import * as f from "../flags.ts";
import type { Operation } from "../program.ts";
import { parseMountOptions } from "./options.ts";
import { chdir, splitLayers } from "./rootfs.ts";
import { mount, quote } from "./step.ts";

/** How the ids of a root filesystem become those of a container. */
export interface RootMapping {
  /** The descriptor, in the process, of a user namespace with the container's maps. */
  readonly userNamespace: number;
  /** The container's user and group 0, on the host. */
  readonly uid: number;
  readonly gid: number;
}

/**
 * As `mountRootfs`, for a container with users of its own: what belongs to an id in the image belongs to the same id in the
 * container, and what the container writes is stored so. Every folder of the host is seen through an id-mapped mount.
 *
 * It is done before the process enters its user namespace: the mounts are of the host's, and overlay takes layers that are
 * mapped.
 * @see https://docs.kernel.org/filesystems/idmappings.html
 */
export function* mountMappedRootfs(rootfs: Rootfs, folder: string, mapping: RootMapping): Generator<Operation> {
  const { mounts, scratch } = rootfs;
  yield mount("tmpfs", folder, {
    type: "tmpfs",
    flags: f.MS_NODEV,
    data: `mode=755,size=${Math.max(scratch?.sizeBytes ?? 1 << 20, 1)}`,
    why: `mount tmpfs on ${quote(folder)}`,
  });
  const [merged, mapped] = [`${folder}/m`, `${folder}/i`];
  yield* makeFolder(merged);
  yield* makeFolder(mapped);
  const [upper, work] = [`${folder}/u`, `${folder}/w`];
  const only = scratch === undefined ? (mounts.length === 1 ? mounts[0] : undefined) : withUpper(mounts, upper, work);
  const isBind = only?.type === "bind";
  if (only === undefined || (!isBind && only.type !== "overlay")) {
    throw new Failure("unimplemented", "cannot map the ids of this root filesystem: want one overlay or bind mount", {
      details: { mounts },
    });
  }
  for (const own of scratch === undefined ? [] : [upper, work]) yield* makeFolder(own, mapping);
  const { attributes, data, flags } = parseMountOptions(only.options);
  if (isBind) {
    yield* map(only.source, merged, mapping, attributes);
  } else {
    yield* mountOverlay(data, { mapped, merged, flags, mapping, inMemory: scratch !== undefined });
  }
  yield chdir(merged, "enter the root filesystem");
}

function* mountOverlay(
  data: readonly string[],
  { mapped, merged, flags, mapping, inMemory }: {
    readonly mapped: string;
    readonly merged: string;
    readonly flags: number;
    readonly mapping: RootMapping;
    readonly inMemory: boolean;
  },
): Generator<Operation> {
  const options: string[] = [];
  const stored = new Set<string>();
  for (const option of data) {
    const [, name = "", value = ""] = /^(lowerdir|upperdir|workdir)=(.*)$/s.exec(option) ?? [];
    if (name === "lowerdir") {
      const names: string[] = [];
      for (const [index, layer] of splitLayers(value).entries()) {
        names.push(layer === "" ? "" : String(index));
        if (layer === "") continue;
        yield* makeFolder(`${mapped}/${index}`);
        yield* map(layer, `${mapped}/${index}`, mapping);
      }
      options.push(`lowerdir=${names.join(":")}`);
    } else if (name !== "" && !inMemory) {
      // Both lie in one folder of the snapshot's, and have to be on one mount.
      const slash = value.lastIndexOf("/");
      const parent = value.slice(0, slash);
      if (!stored.has(parent)) {
        yield* makeFolder(`${mapped}/s${stored.size}`);
        yield* map(parent, `${mapped}/s${stored.size}`, mapping);
        stored.add(parent);
      }
      options.push(`${name}=s${[...stored].indexOf(parent)}/${value.slice(slash + 1)}`);
    } else options.push(option);
  }
  yield chdir(mapped, "enter the folder of the mapped layers");
  const why = "mount overlay as the root filesystem";
  const step = mount("overlay", merged, { type: "overlay", flags, data: options.join(","), why });
  if (stored.size === 0) yield step;
  else yield* asOwner(step, mapping);
}

/** `SECBIT_NO_SETUID_FIXUP`: capabilities stay when ids change. */
const keepCapabilities = 4;

/** Overlay does its own work as who mounts it, for whom there has to be an id in the mapped folders. */
function* asOwner(step: Operation, { uid, gid }: RootMapping): Generator<Operation> {
  const why = "be the container's root for overlay";
  const ids = function* (user: number, group: number): Generator<Operation> {
    yield { syscall: "setfsgid", args: [group], why };
    yield { syscall: "setfsuid", args: [user], why };
  };
  yield { syscall: "prctl", args: [f.PR_SET_SECUREBITS, keepCapabilities, 0, 0, 0], why };
  yield* ids(uid, gid);
  yield step;
  yield* ids(0, 0);
  yield { syscall: "prctl", args: [f.PR_SET_SECUREBITS, 0, 0, 0, 0], why };
}

/** Shows a folder of the host at another place, with its ids mapped. */
function* map(
  source: string,
  target: string,
  { userNamespace }: RootMapping,
  attributes: { readonly set: number; readonly clear: number } = { set: 0, clear: 0 },
): Generator<Operation> {
  const store = `mapped:${target}`;
  const why = `map the ids of ${quote(source)}`;
  const tree = f.OPEN_TREE_CLONE | f.OPEN_TREE_CLOEXEC;
  yield { syscall: "open_tree", args: [f.AT_FDCWD, source, tree], store, why };
  const change = [attributes.set | f.MOUNT_ATTR_IDMAP, attributes.clear, f.MS_PRIVATE, userNamespace];
  yield { syscall: "mount_setattr", args: [{ ref: store }, "", f.AT_EMPTY_PATH, change, 32], why };
  yield {
    syscall: "move_mount",
    args: [{ ref: store }, "", f.AT_FDCWD, target, f.MOVE_MOUNT_F_EMPTY_PATH],
    why,
  };
  yield { syscall: "close", args: [{ ref: store }], why };
}

function* makeFolder(path: string, owner?: RootMapping): Generator<Operation> {
  const why = `make folder ${quote(path)}`;
  yield { syscall: "mkdirat", args: [f.AT_FDCWD, path, 0o755], why };
  if (owner !== undefined) yield { syscall: "fchownat", args: [f.AT_FDCWD, path, owner.uid, owner.gid, 0], why };
}
