import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Digest } from "../../src/core/digest.ts";
import { applyLayer } from "../../src/images/apply_layer.ts";
import { inflate } from "../../src/images/inflate.ts";
import { Budget, defaultLimits, type UnpackLimits } from "../../src/images/budget.ts";
import { LayerFolder } from "../../src/images/layer_folder.ts";
import { LayerImage } from "../../src/images/layer_image.ts";
import { MS_RDONLY } from "../../src/linux/flags.ts";
import type { Kernel } from "../../src/linux/kernel.ts";

export interface UnpackBytesOptions {
  readonly whole?: boolean;
  readonly below?: readonly string[];
  readonly limits?: Partial<UnpackLimits>;
  /** What the archive's digest has to be. Default: what it is. */
  readonly diffId?: Digest;
  /** The layer as it is stored. Default: the archive. */
  readonly blob?: Uint8Array;
  /** How large the pieces are in which it comes. */
  readonly pieceBytes?: number;
  /** Whether it becomes an EROFS image that is mounted on the folder. Default false. */
  readonly image?: boolean;
}

/** Unpacks an archive into a folder that is there. */
export async function unpackBytes(
  kernel: Kernel,
  path: string,
  archive: Uint8Array,
  { whole = false, below = [], limits, diffId, blob = archive, pieceBytes = 100_000, image = false }:
    UnpackBytesOptions = {},
): Promise<void> {
  const budget = new Budget({ ...defaultLimits, ...limits });
  const file = join(tmpdir(), `mayfly-image-${crypto.randomUUID()}`);
  using sink = image
    ? new LayerImage(kernel, { path: file, below, budget })
    : new LayerFolder(kernel, { path, whole, below, budget });
  try {
    await applyLayer({
      archive: inflate(pieces(blob, pieceBytes)),
      diffId: diffId ?? `sha256:${createHash("sha256").update(archive).digest("hex")}`,
      sink,
      budget,
    });
    if (image) kernel.call("mount", file, path, "erofs", MS_RDONLY, 0);
  } finally {
    // A mounted one is there until it is unmounted.
    rmSync(file, { force: true });
  }
}

/** Unmounts all images below a folder. */
export function unmountImages(folder: string): void {
  for (const line of readFileSync("/proc/mounts", "utf8").split("\n")) {
    const [, target = "", type] = line.split(" ");
    if (type === "erofs" && target.startsWith(`${folder}/`)) execFileSync("umount", [target]);
  }
}

async function* pieces(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}
