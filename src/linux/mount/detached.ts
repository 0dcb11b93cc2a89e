import { Failure } from "../../core/errors.ts";
import type { Mount } from "../../core/mount.ts";
import { errno } from "../errno.ts";
import {
  AT_FDCWD,
  FSCONFIG_CMD_CREATE,
  FSCONFIG_SET_FLAG,
  FSCONFIG_SET_STRING,
  FSMOUNT_CLOEXEC,
  FSOPEN_CLOEXEC,
  MOUNT_ATTR_NODEV,
  MOUNT_ATTR_RDONLY,
  O_CLOEXEC,
  O_DIRECTORY,
  O_PATH,
} from "../flags.ts";
import type { Kernel } from "../kernel.ts";
import { syscallFailure } from "../syscall_failure.ts";

export interface DetachedOptions {
  /** Whether the upper layer belongs to it and may be written. Default: the layers below alone, read-only. */
  readonly writable?: boolean;
}

/**
 * Opens what mounts of a snapshotter show. An overlay is mounted nowhere: it hangs on the descriptor alone, in no mount
 * namespace, and goes with it.
 *
 * @param mounts one `bind` or `overlay` mount.
 * @returns an O_PATH descriptor of the root; the caller closes it.
 * @throws unimplemented for mounts of another form; what mounting throws.
 */
export function openDetached(
  kernel: Kernel,
  mounts: readonly Mount[],
  { writable = false }: DetachedOptions = {},
): number {
  const [mount] = mounts;
  if (mounts.length === 1 && mount?.type === "bind") return openFolder(kernel, mount.source);
  if (mounts.length === 1 && mount?.type === "overlay") {
    const options = mount.options.filter((option) => writable || !/^(?:upperdir|workdir)=|^volatile$/.test(option));
    return mountOverlay(kernel, options, writable);
  }
  throw new Failure(
    "unimplemented",
    `cannot look into the root: it is made of ${mounts.map(({ type }) => type).join(", ") || "no"} mounts, ` +
      "want one bind or overlay",
  );
}

function openFolder(kernel: Kernel, path: string): number {
  return kernel.call("openat", AT_FDCWD, path, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
}

const lowerdir = "lowerdir=";

function mountOverlay(kernel: Kernel, options: readonly string[], writable: boolean): number {
  const lower = options.find((option) => option.startsWith(lowerdir))?.slice(lowerdir.length) ?? "";
  const layers = lower.split(/(?<!\\):/).map(unescape);
  const [only] = layers;
  if (!writable && layers.length === 1 && only !== undefined) return openFolder(kernel, only);
  const context = kernel.call("fsopen", "overlay", FSOPEN_CLOEXEC);
  try {
    if (!writable) kernel.call("fsconfig", context, FSCONFIG_SET_FLAG, "ro", 0, 0);
    setLayers(kernel, context, layers, lower);
    for (const option of options) {
      const equals = option.indexOf("=");
      if (option.startsWith(lowerdir) || option === "ro" || option === "rw") continue;
      if (equals < 0) kernel.call("fsconfig", context, FSCONFIG_SET_FLAG, option, 0, 0);
      else setString(kernel, context, option.slice(0, equals), unescape(option.slice(equals + 1)));
    }
    kernel.call("fsconfig", context, FSCONFIG_CMD_CREATE, 0, 0, 0);
    const attributes = writable ? 0 : MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV;
    return kernel.call("fsmount", context, FSMOUNT_CLOEXEC, attributes);
  } finally {
    kernel.attempt("close", context);
  }
}

function setString(kernel: Kernel, context: number, key: string, value: string): void {
  const result = kernel.attempt("fsconfig", context, FSCONFIG_SET_STRING, key, value, 0);
  if (result < 0) throw syscallFailure(`cannot mount an overlay with ${key} "${value}"`, "fsconfig", result);
}

/** One by one, since a value here is at most 255 bytes long; all at once on kernels before 6.7. */
function setLayers(kernel: Kernel, context: number, layers: readonly string[], lower: string): void {
  for (const [index, layer] of layers.entries()) {
    const result = kernel.attempt("fsconfig", context, FSCONFIG_SET_STRING, "lowerdir+", layer, 0);
    if (result >= 0) continue;
    if (index > 0 || result !== -errno.EINVAL) {
      throw syscallFailure(`cannot mount layer "${layer}" to look into the root`, "fsconfig", result);
    }
    kernel.call("fsconfig", context, FSCONFIG_SET_STRING, "lowerdir", lower, 0);
    return;
  }
}

function unescape(path: string): string {
  return path.replace(/\\([\\:,])/g, "$1");
}
