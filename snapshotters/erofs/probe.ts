import { mkdir, readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { messageOf } from "../../src/core/errors.ts";
import type { Availability, ProbeContext } from "../../src/core/plugin.ts";
import { ErofsImage } from "../../src/linux/erofs/image.ts";
import { errnoText } from "../../src/linux/errno.ts";
import { S_IFDIR } from "../../src/linux/flags.ts";
import { Kernel } from "../../src/linux/kernel.ts";
import { tryOverlay } from "../../src/linux/overlay/trial.ts";
import { ownIds } from "../../src/linux/own_ids.ts";
import { removeTree } from "../../src/linux/remove_tree.ts";
import { Slice } from "../../src/linux/slice.ts";
import { unmountAll } from "../../src/linux/mount/unmount.ts";
import { mountImage, removeEmpty } from "./layer_mounts.ts";

const otherwise = "or use another snapshotter (--snapshotter overlay)";

/** Mounts a real image from a file in the root folder, and tries an overlay over it. */
export async function probe({ host, root, run }: ProbeContext): Promise<Availability> {
  const filesystems = await readFile("/proc/filesystems", "utf8");
  for (const name of ["erofs", "overlay"]) {
    if (!new RegExp(`\\t${name}$`, "m").test(filesystems)) {
      return unavailable(`the kernel has no ${name} filesystem: load it (modprobe ${name}), ${otherwise}`);
    }
  }
  const kernel = new Kernel(host);
  if (kernel.attempt("geteuid") !== 0 || !ownIds(kernel).all) {
    return unavailable(`only the machine's root may mount an image: run as root, ${otherwise}`);
  }
  const folder = join(root, "snapshots", "erofs", `probe-${host.pid}`);
  // There the next start finds it, should this process be killed.
  const lower = join(run, "erofs", `probe-${host.pid}`);
  const [upper, work, image] = [join(folder, "upper"), join(folder, "work"), join(folder, "image")];
  try {
    for (const path of [upper, work, lower]) await mkdir(path, { recursive: true, mode: 0o700 });
    await writeEmpty(kernel, image);
    mountImage(kernel, image, lower);
    const result = tryOverlay(kernel, { lower, upper, work });
    if (result >= 0) return { available: true };
    return unavailable(`the kernel refuses an overlay over an EROFS image: ${errnoText(-result)}: ${otherwise}`);
  } catch (error) {
    return unavailable(
      `no EROFS image can be mounted from a file in ${JSON.stringify(root)}: ${
        messageOf(error)
      }: that takes Linux 6.12 ` +
        `and a root folder on ext4, xfs or btrfs, ${otherwise}`,
    );
  } finally {
    unmountAll(kernel, lower);
    await removeTree(kernel, folder);
    for (const path of [lower, dirname(lower)]) removeEmpty(path);
  }
}

async function writeEmpty(kernel: Kernel, path: string): Promise<void> {
  using image = new ErofsImage(kernel, path);
  const modified = { seconds: 0, nanoseconds: 0 };
  const attributes = new Map<string, Uint8Array>();
  await image.finish({ mode: S_IFDIR | 0o755, uid: 0, gid: 0, modified, attributes, children: new Map() }, new Slice());
}

function unavailable(reason: string): Availability {
  return { available: false, reason };
}
