import type { Host } from "../core/host.ts";
import type { Snapshotter } from "../core/snapshotter.ts";
import { Kernel } from "../linux/kernel.ts";
import type { Accounts } from "./accounts.ts";
import { containerSnapshotPrefix } from "./container_run.ts";
import { ImageRoot } from "./image_root.ts";

/** Far more than any image needs, and nothing to a machine. */
const limitBytes = 1024 * 1024;

/**
 * Reads the account files of an image.
 *
 * @param chain the image's top layer, committed in the snapshotter.
 * @throws resource_exhausted when a file is larger than 1 MiB; what the snapshotter throws.
 */
export async function readAccounts(host: Host, snapshotter: Snapshotter, chain: string): Promise<Accounts> {
  const key = `${containerSnapshotPrefix}accounts-${crypto.randomUUID()}`;
  const mounts = await snapshotter.view(key, chain);
  try {
    using root = new ImageRoot(new Kernel(host), mounts);
    return {
      passwd: root.readText("etc/passwd", limitBytes) ?? "",
      group: root.readText("etc/group", limitBytes) ?? "",
    };
  } finally {
    await snapshotter.remove(key);
  }
}
