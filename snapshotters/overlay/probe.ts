import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Availability, ProbeContext } from "../../src/core/plugin.ts";
import { errno, errnoText } from "../../src/linux/errno.ts";
import { FSCONFIG_CMD_CREATE, FSCONFIG_SET_FLAG, FSCONFIG_SET_STRING, FSOPEN_CLOEXEC } from "../../src/linux/flags.ts";
import { Kernel } from "../../src/linux/kernel.ts";
import { ownIds } from "../../src/linux/own_ids.ts";
import { removeTree } from "../../src/linux/remove_tree.ts";

const otherwise = "or use the native snapshotter (--snapshotter native)";

/** Tries a real overlay in the root folder; it is mounted nowhere, so nothing can be left behind. */
export async function probe({ host, root }: ProbeContext): Promise<Availability> {
  const filesystems = await readFile("/proc/filesystems", "utf8");
  if (!/\toverlay$/m.test(filesystems)) {
    return unavailable(`the kernel has no overlay filesystem: load it (modprobe overlay), ${otherwise}`);
  }
  const kernel = new Kernel(host);
  if (kernel.attempt("geteuid") !== 0) {
    return unavailable("only root may mount an overlay: run as root");
  }
  const folder = join(root, "snapshots", `overlay-probe-${host.pid}`);
  try {
    for (const name of ["lower", "upper", "work"]) await mkdir(join(folder, name), { recursive: true, mode: 0o700 });
    const user = !ownIds(kernel).all;
    const result = create(kernel, folder, user);
    if (result === -errno.ENOSYS) return { available: true, note: "not tried: the kernel has no fsopen" };
    if (result < 0) {
      return unavailable(
        `the kernel refuses an overlay in ${JSON.stringify(root)}: ${errnoText(-result)}: ` +
          `put the root folder on ext4, xfs or btrfs (it may be on an overlay itself), ${otherwise}`,
      );
    }
    return { available: true };
  } finally {
    await removeTree(kernel, folder);
  }
}

/** @returns 0, or the negative errno. @see https://man7.org/linux/man-pages/man2/fsopen.2.html */
function create(kernel: Kernel, folder: string, user: boolean): number {
  const fd = kernel.attempt("fsopen", "overlay", FSOPEN_CLOEXEC);
  if (fd < 0) return fd;
  try {
    for (const [key, name] of [["lowerdir", "lower"], ["upperdir", "upper"], ["workdir", "work"]] as const) {
      const result = kernel.attempt("fsconfig", fd, FSCONFIG_SET_STRING, key, join(folder, name), 0);
      if (result < 0) return result;
    }
    if (user) {
      const result = kernel.attempt("fsconfig", fd, FSCONFIG_SET_FLAG, "userxattr", 0, 0);
      if (result < 0) return result;
    }
    return Math.min(0, kernel.attempt("fsconfig", fd, FSCONFIG_CMD_CREATE, 0, 0, 0));
  } finally {
    kernel.attempt("close", fd);
  }
}

function unavailable(reason: string): Availability {
  return { available: false, reason };
}
