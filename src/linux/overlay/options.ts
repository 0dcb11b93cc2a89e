import { readFile } from "node:fs/promises";
import * as v from "valibot";
import type { Kernel } from "../kernel.ts";
import { ownIds } from "../own_ids.ts";

/** What a user can set of a snapshotter whose containers write into an overlay. */
export const OverlayConfig = v.strictObject({
  /**
   * Whether containers whose changes are kept write without waiting for the disk: an fsync of theirs is done at once, and
   * their end does not flush the whole filesystem. What they wrote in the last half minute is lost when the machine fails;
   * when only the daemon does, nothing is. Default true.
   */
  volatile: v.optional(v.boolean(), true),
});

/** Mount options of a writable overlay and of a read-only one, as this machine's kernel needs them. */
export interface OverlayOptions {
  readonly writable: readonly string[];
  readonly readonly: readonly string[];
}

/**
 * Features that may be on by default, and must be off: with them the upper folder would not hold the whole layer, but
 * refer to the layers that happened to be below it.
 */
const features = ["index", "metacopy", "redirect_dir"] as const;

/**
 * Reads which options the running kernel knows.
 * @param options.volatile whether a writable overlay may forget what was synced to it when the machine fails.
 * @see https://docs.kernel.org/filesystems/overlayfs.html
 */
export async function overlayOptions(
  kernel: Kernel,
  { volatile }: v.InferOutput<typeof OverlayConfig>,
): Promise<OverlayOptions> {
  // It keeps its attributes where a user may write them: root's are closed to others.
  const user = !ownIds(kernel).all;
  const off: string[] = user ? ["userxattr"] : [];
  for (const feature of features) {
    // With `userxattr` the kernel has the others off, and refuses to be told.
    if (user && feature !== "index") continue;
    const value = await readFile(`/sys/module/overlay/parameters/${feature}`, "utf8").catch(() => "");
    if (value.startsWith("Y")) off.push(`${feature}=off`);
  }
  const release = await readFile("/proc/sys/kernel/osrelease", "utf8");
  return { writable: volatile && atLeast(release, 5, 10) ? [...off, "volatile"] : off, readonly: off };
}

function atLeast(release: string, major: number, minor: number): boolean {
  const [, a = 0, b = 0] = /^(\d+)\.(\d+)/.exec(release)?.map(Number) ?? [];
  return a > major || (a === major && b >= minor);
}
