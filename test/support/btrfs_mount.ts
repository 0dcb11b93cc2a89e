import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";

/** A btrfs in a file of this machine, mounted; both go when it is disposed of, or the process ends. */
export function mountBtrfs(options: { readonly quota?: boolean } = {}): Disposable & { readonly path: string } {
  const folder = mkdtempSync(join(tmpdir(), "mayfly-btrfs-"));
  const image = join(folder, "image");
  const path = join(folder, "mnt");
  writeFileSync(image, "");
  truncateSync(image, 512 << 20);
  mkdirSync(path);
  execFileSync("mkfs.btrfs", ["-q", image]);
  // The loop device is the mount's own: it goes with it.
  execFileSync("mount", ["-o", "loop", image, path]);
  let mounted = true;
  const unmount = () => {
    if (!mounted) return;
    mounted = false;
    execFileSync("umount", ["-l", path]);
    rmSync(folder, { recursive: true, force: true });
  };
  process.on("exit", unmount);
  try {
    if (options.quota === true) execFileSync("btrfs", ["quota", "enable", path]);
  } catch (error) {
    unmount();
    throw error;
  }
  return {
    path,
    [Symbol.dispose]() {
      process.removeListener("exit", unmount);
      unmount();
    },
  };
}
