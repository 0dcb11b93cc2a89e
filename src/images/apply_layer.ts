import { createHash } from "node:crypto";
import { Failure } from "../core/errors.ts";
import { type Digest, splitDigest } from "../core/digest.ts";
import { Slice } from "../linux/slice.ts";
import type { Budget } from "./budget.ts";
import type { LayerSink } from "./layer_sink.ts";
import { TarReader } from "./tar_reader.ts";

export interface ApplyLayerOptions {
  /** The layer, decompressed. A piece is done with when the next one is asked for. */
  readonly archive: AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
  /** The digest that its archive has to have. */
  readonly diffId: Digest;
  readonly sink: LayerSink;
  readonly budget: Budget;
  readonly signal?: AbortSignal | undefined;
  /** What finds the archive's digest. Default: this does. */
  readonly hash?: Hashing;
}

/** Finds a digest. */
export interface Hashing {
  update(bytes: Uint8Array): void;
  digest(encoding: "hex"): string;
}

/**
 * Unpacks a layer in one pass: digest, read the archive, make the files.
 * @throws data_loss when it is corrupt, cut short, or not what the image's configuration says; what the sink throws.
 */
export async function applyLayer(
  { archive, diffId, sink, budget, signal, hash = hashOf(diffId) }: ApplyLayerOptions,
): Promise<void> {
  const { algorithm, hex } = splitDigest(diffId);
  const reader = new TarReader();
  const slice = new Slice(signal);
  for await (const chunk of archive) {
    budget.bytes(chunk.length);
    hash.update(chunk);
    sink.archive?.(chunk);
    reader.feed(chunk);
    for (let event = reader.next(); event !== undefined; event = reader.next()) {
      if (event.kind === "entry") await sink.add(event.entry, event.offset);
      else if (event.kind === "data") sink.write(event);
      if (slice.over) await slice.next();
    }
  }
  reader.end();
  const found = hash.digest("hex");
  if (found !== hex) {
    throw new Failure(
      "data_loss",
      `cannot unpack the layer: its archive is ${algorithm}:${found}, the image's configuration says ${diffId}`,
    );
  }
  await sink.finish(slice);
}

/** For a digest like this one. */
export function hashOf(digest: Digest): Hashing {
  return createHash(splitDigest(digest).algorithm);
}
