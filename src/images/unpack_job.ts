import { closeSync, openSync, readSync } from "node:fs";
import type { Digest } from "../core/digest.ts";
import type { SnapshotFolder } from "../core/snapshotter.ts";
import type { Kernel } from "../linux/kernel.ts";
import { applyLayer } from "./apply_layer.ts";
import { Budget } from "./budget.ts";
import { formOf, inflate } from "./inflate.ts";
import { LayerFolder } from "./layer_folder.ts";
import { LayerImage } from "./layer_image.ts";
import type { Fill, NativeInflaters } from "./native_inflate.ts";

/** A layer to unpack, in words that another thread understands. */
export interface UnpackJob {
  /** The file of its blob. */
  readonly blob: string;
  readonly diffId: Digest;
  readonly folder: SnapshotFolder;
  readonly budget: Budget["state"];
}

export interface JobContext {
  readonly kernel: Kernel;
  readonly inflaters: NativeInflaters;
  /** Takes how many bytes of the blob have been read. */
  readonly onRead: (bytes: number) => void;
  /** @throws when nobody wants it any more. */
  readonly check: () => void;
}

/** How a layer is written into a snapshot's folder. */
export function openSink(kernel: Kernel, folder: SnapshotFolder, budget: Budget): LayerFolder | LayerImage {
  const { image } = folder;
  return image === undefined
    ? new LayerFolder(kernel, { ...folder, budget })
    : new LayerImage(kernel, { ...folder, path: image, budget });
}

/** Unpacks a layer from its blob's file. @throws as `applyLayer`. */
export async function runJob({ blob, diffId, folder, budget: state }: UnpackJob, context: JobContext): Promise<void> {
  const budget = new Budget(state.limits, state.shared);
  const file = openSync(blob, "r");
  try {
    let bytes = 0;
    const fill: Fill = (into) => {
      context.check();
      const count = readSync(file, into);
      context.onRead(bytes += count);
      return count;
    };
    using sink = openSink(context.kernel, folder, budget);
    await applyLayer({ archive: decompressed(fill, blob, context), diffId, sink, budget });
  } finally {
    closeSync(file);
  }
}

function decompressed(fill: Fill, blob: string, { inflaters }: JobContext) {
  const native = inflaters[formOfFile(blob)];
  return native === undefined ? inflate(pieces(fill)) : native.inflate(fill);
}

function formOfFile(path: string): ReturnType<typeof formOf> {
  const file = openSync(path, "r");
  try {
    const first = new Uint8Array(4);
    return formOf(first.subarray(0, readSync(file, first, 0, 4, 0)));
  } finally {
    closeSync(file);
  }
}

async function* pieces(fill: Fill): AsyncGenerator<Uint8Array> {
  for (;;) {
    // Each one anew: what decompresses keeps them for a while.
    const piece = new Uint8Array(128 << 10);
    const count = fill(piece);
    if (count === 0) return;
    yield piece.subarray(0, count);
  }
}
