import { createHash } from "node:crypto";
import type { Digest } from "../../src/core/digest.ts";
import { applyLayer } from "../../src/images/apply_layer.ts";
import { Budget, defaultLimits, type UnpackLimits } from "../../src/images/budget.ts";
import { LayerFolder } from "../../src/images/layer_folder.ts";
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
}

/** Unpacks an archive into a folder that is there. */
export async function unpackBytes(
  kernel: Kernel,
  path: string,
  archive: Uint8Array,
  { whole = false, below = [], limits, diffId, blob = archive, pieceBytes = 100_000 }: UnpackBytesOptions = {},
): Promise<void> {
  const budget = new Budget({ ...defaultLimits, ...limits });
  using folder = new LayerFolder(kernel, { path, whole, below, budget });
  await applyLayer({
    blob: pieces(blob, pieceBytes),
    diffId: diffId ?? `sha256:${createHash("sha256").update(archive).digest("hex")}`,
    folder,
    budget,
  });
}

async function* pieces(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}
