import type { Snapshotter } from "../core/snapshotter.ts";
import type { Kernel } from "../linux/kernel.ts";
import type { Accounts } from "./accounts.ts";
import { containerSnapshotPrefix } from "./container_run.ts";
import { ImageRoot } from "./image_root.ts";

/** Far more than any image needs, and nothing to a machine. */
const limitBytes = 1024 * 1024;

/**
 * Looks into an image.
 *
 * @param chain the image's top layer, committed in the snapshotter.
 * @throws what the snapshotter and `look` throw.
 */
export async function lookInto<T>(
  kernel: Kernel,
  snapshotter: Snapshotter,
  chain: string,
  look: (root: ImageRoot) => T,
): Promise<T> {
  const key = `${containerSnapshotPrefix}look-${crypto.randomUUID()}`;
  const mounts = await snapshotter.view(key, chain);
  try {
    using root = new ImageRoot(kernel, mounts);
    return look(root);
  } finally {
    await snapshotter.remove(key);
  }
}

/** Reads the account files of an image. @throws resource_exhausted when a file is larger than 1 MiB. */
export function readAccounts(root: ImageRoot): Accounts {
  return {
    passwd: root.readText("etc/passwd", limitBytes) ?? "",
    group: root.readText("etc/group", limitBytes) ?? "",
  };
}
