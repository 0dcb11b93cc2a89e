import { execFileSync } from "node:child_process";
import { mkdtempSync, rmdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Mount } from "../../src/core/mount.ts";

/** Runs a function while mounts of a snapshotter are in place. */
export async function mounted<T>(mounts: readonly Mount[], use: (path: string) => T | Promise<T>): Promise<T> {
  const target = mkdtempSync(join(tmpdir(), "mayfly-mounted-"));
  let count = 0;
  try {
    for (const { type, source, options } of mounts) {
      const flags = type === "bind" ? [] : ["-t", type];
      execFileSync("mount", [...flags, "-o", options.join(","), source, target]);
      count++;
    }
    return await use(target);
  } finally {
    for (; count > 0; count--) execFileSync("umount", [target]);
    rmdirSync(target);
  }
}
