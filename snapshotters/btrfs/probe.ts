import { existsSync } from "node:fs";
import { mkdir, readFile, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { messageOf } from "../../src/core/errors.ts";
import type { Availability, ProbeContext } from "../../src/core/plugin.ts";
import { Btrfs } from "../../src/linux/btrfs.ts";
import { Files } from "../../src/linux/files.ts";
import {
  BTRFS_SUPER_MAGIC,
  EXT4_SUPER_MAGIC,
  OVERLAYFS_SUPER_MAGIC,
  TMPFS_MAGIC,
  XFS_SUPER_MAGIC,
} from "../../src/linux/flags.ts";
import { Kernel } from "../../src/linux/kernel.ts";

const otherwise = "or use another snapshotter (--snapshotter overlay)";

const names: Readonly<Record<number, string>> = {
  [EXT4_SUPER_MAGIC]: "ext4",
  [XFS_SUPER_MAGIC]: "xfs",
  [TMPFS_MAGIC]: "tmpfs",
  [OVERLAYFS_SUPER_MAGIC]: "an overlay",
};

/** Makes a real subvolume where the snapshots are to be, and removes it. */
export async function probe({ host, root }: ProbeContext): Promise<Availability> {
  const filesystems = await readFile("/proc/filesystems", "utf8");
  if (!/\tbtrfs$/m.test(filesystems)) {
    return unavailable(`the kernel has no btrfs: load it (modprobe btrfs), ${otherwise}`);
  }
  const kernel = new Kernel(host);
  if (kernel.attempt("geteuid") !== 0) return unavailable("only root may remove subvolumes: run as root");
  const folder = join(root, "snapshots", "btrfs");
  const magic = filesystemOf(kernel, folder);
  if (magic !== BTRFS_SUPER_MAGIC) {
    return unavailable(
      `the folder ${JSON.stringify(folder)} is on ${names[magic] ?? "another filesystem"}, not on btrfs: mount one ` +
        `there, put the root folder on one (--root), ${otherwise}`,
    );
  }
  using btrfs = new Btrfs(kernel);
  const trial = join(folder, `probe-${host.pid}`);
  try {
    await mkdir(trial, { recursive: true, mode: 0o700 });
    btrfs.create(trial, "subvolume");
    return { available: true };
  } catch (error) {
    return unavailable(`no subvolume can be made in ${JSON.stringify(folder)}: ${messageOf(error)}: ${otherwise}`);
  } finally {
    btrfs.destroyIn(trial);
    await rm(trial, { recursive: true, force: true });
  }
}

/** The filesystem of a folder that may not be there yet. */
function filesystemOf(kernel: Kernel, folder: string): number {
  let path = folder;
  while (!existsSync(path)) path = dirname(path);
  using files = new Files(kernel);
  const fd = files.openFolder(path);
  try {
    return files.filesystem(fd);
  } finally {
    files.close(fd);
  }
}

function unavailable(reason: string): Availability {
  return { available: false, reason };
}
