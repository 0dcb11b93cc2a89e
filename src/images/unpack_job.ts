import { closeSync, openSync, readSync } from "node:fs";
import type { Digest } from "../core/digest.ts";
import type { SnapshotFolder } from "../core/snapshotter.ts";
import type { Kernel } from "../linux/kernel.ts";
import { applyLayer, type Hashing, hashOf } from "./apply_layer.ts";
import { Budget } from "./budget.ts";
import { formOf, inflate } from "./inflate.ts";
import { LayerFolder } from "./layer_folder.ts";
import { LayerImage } from "./layer_image.ts";
import type { Fill, NativeInflaters } from "./native_inflate.ts";
import type { Ring } from "./ring.ts";

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
}

/** How a layer is written into a snapshot's folder. */
export function openSink(kernel: Kernel, folder: SnapshotFolder, budget: Budget): LayerFolder | LayerImage {
  const { image } = folder;
  return image === undefined
    ? new LayerFolder(kernel, { ...folder, budget })
    : new LayerImage(kernel, { ...folder, path: image, budget });
}

/** Unpacks a layer from its blob's file. @throws as `applyLayer`; RingStopped. */
export async function runJob(job: UnpackJob, ring: Ring, context: JobContext): Promise<void> {
  using blob = new BlobFile(job.blob, ring, context);
  await write(job, blob.archive(), context);
}

/** One thread's part of it: brings the archive into the ring, and its digest where the other thread has enough to do. */
export async function runInflating(job: UnpackJob, ring: Ring, context: JobContext): Promise<void> {
  using blob = new BlobFile(job.blob, ring, context);
  const hash = isHashedFirst(job) ? hashOf(job.diffId) : undefined;
  for await (const piece of blob.archive()) {
    hash?.update(piece);
    ring.write(piece);
  }
  ring.end(hash?.digest("hex") ?? "");
}

/** The other thread's part: makes files of what comes out of the ring. */
export async function runWriting(job: UnpackJob, ring: Ring, context: JobContext): Promise<void> {
  const hash: Hashing | undefined = isHashedFirst(job) ? { update() {}, digest: () => ring.digest } : undefined;
  await write(job, ring.pieces(), context, hash);
}

/** To make files takes longer than to decompress; to make an image does not. */
function isHashedFirst({ folder }: UnpackJob): boolean {
  return folder.image === undefined;
}

async function write(
  { diffId, folder, budget: { limits, shared } }: UnpackJob,
  archive: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  { kernel }: JobContext,
  hash?: Hashing,
): Promise<void> {
  const budget = new Budget(limits, shared);
  using sink = openSink(kernel, folder, budget);
  await applyLayer({ archive, diffId, sink, budget, ...(hash && { hash }) });
}

/** A blob's file. */
class BlobFile implements Disposable {
  readonly #path: string;
  readonly #file: number;
  readonly #ring: Ring;
  readonly #context: JobContext;

  constructor(path: string, ring: Ring, context: JobContext) {
    this.#path = path;
    this.#file = openSync(path, "r");
    this.#ring = ring;
    this.#context = context;
  }

  [Symbol.dispose](): void {
    closeSync(this.#file);
  }

  /** What is in it, decompressed. */
  archive(): AsyncIterable<Uint8Array> | Iterable<Uint8Array> {
    let bytes = 0;
    const fill: Fill = (into) => {
      this.#ring.check();
      const count = readSync(this.#file, into);
      this.#context.onRead(bytes += count);
      return count;
    };
    return decompressed(fill, this.#path, this.#context);
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
