import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Availability, ProbeContext } from "../../src/core/plugin.ts";
import { errno, errnoText } from "../../src/linux/errno.ts";
import { Kernel } from "../../src/linux/kernel.ts";
import { tryOverlay } from "../../src/linux/overlay/trial.ts";
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
    const [lower, upper, work] = [join(folder, "lower"), join(folder, "upper"), join(folder, "work")];
    for (const path of [lower, upper, work]) await mkdir(path, { recursive: true, mode: 0o700 });
    if (!ownIds(kernel).all && !hasUserAttributes(kernel, folder)) {
      return unavailable(
        `the filesystem of ${
          JSON.stringify(root)
        } has no attributes of users: put it on ext4, xfs or btrfs, ${otherwise}`,
      );
    }
    const result = tryOverlay(kernel, { lower, upper, work });
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

/** Overlayfs needs them where root's are not to be had; tmpfs has some since Linux 6.6. */
function hasUserAttributes(kernel: Kernel, folder: string): boolean {
  return kernel.attempt("lsetxattr", folder, "user.mayfly", "y", 1, 0) === 0;
}

function unavailable(reason: string): Availability {
  return { available: false, reason };
}
