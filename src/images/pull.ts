import type { Descriptor } from "../core/descriptor.ts";
import type { Digest } from "../core/digest.ts";
import { Failure } from "../core/errors.ts";
import type { ImageReference } from "../core/reference.ts";
import type { Fetcher, FetchOptions } from "./fetch.ts";
import type { Hold } from "./hold.ts";
import { readManifest } from "./read_manifest.ts";
import { readDocument, type ResolvedLayer, type ResolveOptions } from "./resolve.ts";
import { threadBytes } from "./unpack.ts";

/** How many layers are on their way at once. */
const concurrency = 3;

/** How much of an image's small layers is in memory, at most. */
const memoryBytes = 8 << 20;

/** Fetches a blob. @returns it, where it is not in the content store yet. */
type FetchBlob = (blob: Descriptor, signal?: AbortSignal) => Promise<Uint8Array | undefined>;

/** The blobs of one image on their way into the content store, the largest first. */
export class LayerDownloads {
  readonly #arrivals = new Map<string, PromiseWithResolvers<Uint8Array | undefined>>();
  /** Resolves when all are there; rejects with the first error, when the others have stopped. */
  readonly done: Promise<void>;
  readonly #stop = new AbortController();

  constructor(
    blobs: readonly Descriptor[],
    fetch: FetchBlob,
    signal: AbortSignal | undefined,
  ) {
    const unique = new Map(blobs.map((blob) => [blob.digest, blob]));
    for (const digest of unique.keys()) {
      const arrival = Promise.withResolvers<Uint8Array | undefined>();
      // Nobody may be waiting for this one when it fails; `done` tells.
      arrival.promise.catch(() => {});
      this.#arrivals.set(digest, arrival);
    }
    this.done = this.#run([...unique.values()].sort((a, b) => b.size - a.size), fetch, signal);
    this.done.catch(() => {});
  }

  /** Resolves when a layer is in the content store; or with the layer itself, when it has come. */
  arrived(layer: ResolvedLayer): Promise<Uint8Array | undefined> {
    return this.#arrivals.get(layer.descriptor.digest)?.promise ?? Promise.resolve(undefined);
  }

  /** Ends those that are on their way, and waits until they have ended. */
  async stop(reason: unknown): Promise<void> {
    this.#stop.abort(reason);
    await this.done.catch(() => {});
  }

  async #run(
    queue: readonly Descriptor[],
    fetch: FetchBlob,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const stop = this.#stop;
    const either = signal === undefined ? stop.signal : AbortSignal.any([signal, stop.signal]);
    const next = queue.values();
    const fetchAll = async () => {
      for (const layer of next) {
        const arrival = this.#arrivals.get(layer.digest);
        try {
          either.throwIfAborted();
          arrival?.resolve(await fetch(layer, either));
        } catch (error) {
          arrival?.reject(error);
          stop.abort(error);
          throw error;
        }
      }
    };
    const results = await Promise.allSettled(Array.from({ length: concurrency }, fetchAll));
    const failed = results.find((result) => result.status === "rejected");
    if (failed === undefined) return;
    const reason = stop.signal.aborted ? stop.signal.reason : failed.reason;
    for (const arrival of this.#arrivals.values()) arrival.reject(reason);
    throw reason;
  }
}

/** A function that fetches one blob and holds it from before it is looked for. */
export function fetchHeld(
  fetcher: Fetcher,
  hold: Hold,
  reference: ImageReference,
  options: FetchOptions,
): FetchBlob {
  return async (descriptor, signal) => {
    await hold.content(descriptor.digest, reference);
    await fetcher.fetch(reference, descriptor, signal === undefined ? options : { ...options, signal });
    return undefined;
  };
}

/** Writes that go on while what is written is used already. */
export class PendingWrites implements AsyncDisposable {
  readonly #writes: Promise<void>[] = [];

  /** As `fetchHeld`, for documents: who has asked for one need not wait until it is written. */
  documents(fetcher: Fetcher, hold: Hold, reference: ImageReference, options: FetchOptions): FetchBlob {
    return async (descriptor, signal) => {
      await hold.content(descriptor.digest, reference);
      const all = signal === undefined ? options : { ...options, signal };
      const document = await fetcher.document(reference, descriptor, all);
      if (document !== undefined) this.#writes.push(document.written);
      return document?.bytes;
    };
  }

  /** As `fetchHeld`, for layers that are unpacked: a few small ones are while they are written. */
  layers(fetcher: Fetcher, hold: Hold, reference: ImageReference, options: FetchOptions): FetchBlob {
    const small = this.documents(fetcher, hold, reference, options);
    const large = fetchHeld(fetcher, hold, reference, options);
    let bytes = 0;
    return (layer, signal) => {
      if (layer.size >= threadBytes || bytes + layer.size > memoryBytes) return large(layer, signal);
      bytes += layer.size;
      return small(layer, signal);
    };
  }

  /** Resolves when all is written. @throws what kept something from that. */
  async done(): Promise<void> {
    await Promise.all(this.#writes);
  }

  /** Waits until none is on its way any more: the error that led here is not hidden. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.allSettled(this.#writes);
  }
}

/** The most blobs that an image for all platforms may have. */
const maxBlobs = 20_000;
const maxDepth = 4;

/**
 * Brings every manifest below an index.
 * @returns all the blobs that they name.
 * @throws invalid_argument for what is no image; resource_exhausted for more blobs than an image has.
 */
export async function everyBlob(
  target: Descriptor,
  options: Pick<ResolveOptions, "content" | "fetch">,
): Promise<readonly Descriptor[]> {
  const blobs = new Map<Digest, Descriptor>();
  const seen = new Set<Digest>();
  const visit = async (descriptor: Descriptor, depth: number): Promise<void> => {
    if (seen.has(descriptor.digest)) return;
    seen.add(descriptor.digest);
    if (depth > maxDepth) {
      throw new Failure("invalid_argument", `cannot pull ${target.digest}: over ${maxDepth} indexes in each other`);
    }
    const document = readManifest(await readDocument(descriptor, options), descriptor.digest, descriptor.mediaType);
    if (document.kind === "index") {
      for (const child of document.index.manifests) await visit(child, depth + 1);
      return;
    }
    for (const blob of [document.manifest.config, ...document.manifest.layers]) blobs.set(blob.digest, blob);
    if (blobs.size + seen.size <= maxBlobs) return;
    throw new Failure("resource_exhausted", `cannot pull ${target.digest}: it has more than ${maxBlobs} blobs`);
  };
  await visit(target, 0);
  return [...blobs.values()];
}
