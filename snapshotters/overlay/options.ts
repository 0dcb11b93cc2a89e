import { readFile } from "node:fs/promises";

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
 * @param options.user whether overlayfs is to keep its attributes where a user may: root's it could not write.
 * @param options.volatile whether a writable overlay may forget what was synced to it when the machine fails.
 * @see https://docs.kernel.org/filesystems/overlayfs.html
 */
export async function overlayOptions(
  { volatile, user = false }: { readonly volatile: boolean; readonly user?: boolean },
): Promise<OverlayOptions> {
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
