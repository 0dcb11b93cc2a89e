import { createHash } from "node:crypto";
import type { ContentStore, Ingest } from "../core/content.ts";
import type { Descriptor } from "../core/descriptor.ts";
import type { Distribution, DistributionOptions } from "../core/distribution.ts";
import { type Digest, splitDigest } from "../core/digest.ts";
import { codeOf, Failure } from "../core/errors.ts";
import { formatReference, type ImageReference } from "../core/reference.ts";
import { isThere } from "./blob_state.ts";
import { ingestRef } from "./hold.ts";
import { counted, type OnProgress } from "./progress.ts";
import { SingleFlight } from "./single_flight.ts";

export interface FetchOptions extends DistributionOptions {
  readonly onProgress?: OnProgress | undefined;
}

/** A document, or another small blob, that has come. */
export interface FetchedDocument {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Resolves when it is in the content store; rejects with what kept it from there. */
  readonly written: Promise<void>;
}

/**
 * Brings blobs from registries into the content store, each once at a time from each repository, and goes on where an
 * attempt had stopped.
 */
export class Fetcher {
  readonly #content: ContentStore;
  readonly #distribution: Distribution;
  readonly #flights = new SingleFlight<FetchedDocument | undefined>();
  /** Documents that have come and are not in the store yet, by the names of their ingests. */
  readonly #writing = new Map<string, FetchedDocument>();

  constructor(content: ContentStore, distribution: Distribution) {
    this.#content = content;
    this.#distribution = distribution;
  }

  /** @throws data_loss when size or digest differ from the descriptor's; what the registry answers. */
  async fetch(
    reference: ImageReference,
    descriptor: Descriptor,
    options: FetchOptions,
  ): Promise<void> {
    const { digest, size } = descriptor;
    const { onProgress, signal, ...rest } = options;
    if (await isThere(this.#content, digest)) {
      return onProgress?.({ digest, phase: "exists", bytes: size, total: size });
    }
    const ref = ingestRef(digest, reference);
    const document = await this.#flights.run(ref, signal, async (signal) => {
      const writing = this.#writing.get(ref);
      if (writing !== undefined) return writing;
      await this.#leavingRoom(ref, () => this.#fetch(reference, descriptor, { ...rest, signal }, onProgress));
      return undefined;
    });
    await document?.written;
    onProgress?.({ digest, phase: "done", bytes: size, total: size });
  }

  /**
   * Brings a manifest, a configuration or a small layer. It is given to who wants to read it before it is in the store.
   * @param descriptor of no more bytes than may be in memory.
   * @returns undefined where it was there already.
   * @throws as `fetch`.
   */
  async document(
    reference: ImageReference,
    descriptor: Descriptor,
    { signal, onProgress, ...options }: FetchOptions,
  ): Promise<FetchedDocument | undefined> {
    const { digest, size } = descriptor;
    const ref = ingestRef(digest, reference);
    if (!this.#writing.has(ref) && await isThere(this.#content, digest)) {
      onProgress?.({ digest, phase: "exists", bytes: size, total: size });
      return undefined;
    }
    const document = await this.#flights.run(ref, signal, async (signal) => {
      const writing = this.#writing.get(ref);
      if (writing !== undefined) return writing;
      const bytes = await this.#read(reference, descriptor, { ...options, signal }, onProgress);
      const written = this.#leavingRoom(ref, () => this.#write(reference, descriptor, bytes))
        .finally(() => this.#writing.delete(ref));
      // Whoever has asked for it waits for that.
      written.catch(() => {});
      const document = { bytes, written };
      this.#writing.set(ref, document);
      return document;
    });
    onProgress?.({ digest, phase: "done", bytes: size, total: size });
    return document;
  }

  /** Reads a document into memory, and verifies it. */
  async #read(
    reference: ImageReference,
    descriptor: Descriptor,
    options: DistributionOptions,
    onProgress: OnProgress | undefined,
  ): Promise<Uint8Array<ArrayBuffer>> {
    const { digest, size } = descriptor;
    const { body } = await this.#distribution.fetch(reference, descriptor, options);
    const bytes = new Uint8Array(size);
    let length = 0;
    for await (const chunk of counted(body, { digest, phase: "download", total: size }, onProgress)) {
      if (length + chunk.length > size) throw another(reference, digest, `more than its ${size} bytes`);
      bytes.set(chunk, length);
      length += chunk.length;
    }
    if (length < size) throw another(reference, digest, `${length} of its ${size} bytes`);
    const { algorithm, hex } = splitDigest(digest);
    const found = createHash(algorithm).update(bytes).digest("hex");
    if (found !== hex) throw another(reference, digest, `the digest ${algorithm}:${found}`);
    return bytes;
  }

  async #write(reference: ImageReference, descriptor: Descriptor, bytes: Uint8Array): Promise<void> {
    await using ingest = await this.#writer(reference, descriptor);
    if (ingest === undefined) return;
    if (ingest.offset > 0) await ingest.truncate();
    await ingest.write(bytes);
    await ingest.commit();
  }

  /** What came of a blob is kept for the next attempt, unless it takes the room that is wanted. */
  async #leavingRoom(ref: string, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (error instanceof Failure && (error.errno === "ENOSPC" || error.errno === "EDQUOT")) {
        // The error that led here is not to be hidden: garbage collection takes what cannot be removed now.
        await this.#content.abort(ref).catch(() => {});
      }
      throw error;
    }
  }

  async #fetch(
    reference: ImageReference,
    descriptor: Descriptor,
    options: DistributionOptions,
    onProgress: OnProgress | undefined,
  ): Promise<void> {
    const { digest, size } = descriptor;
    await using ingest = await this.#writer(reference, descriptor);
    // It has come from elsewhere in the meantime.
    if (ingest === undefined) return;
    if (ingest.offset < size) {
      const { offset, body } = await this.#distribution.fetch(reference, descriptor, {
        ...options,
        offset: ingest.offset,
      });
      if (offset !== ingest.offset) await ingest.truncate();
      const step = { digest, phase: "download", total: size } as const;
      for await (const chunk of counted(body, step, onProgress, ingest.offset)) {
        options.signal?.throwIfAborted();
        await ingest.write(chunk);
      }
    }
    try {
      await ingest.commit();
    } catch (error) {
      if (!(error instanceof Failure) || error.code !== "failed_precondition") throw error;
      throw another(reference, digest, `the digest ${error.details?.digest ?? "of another"}`, error);
    }
  }

  async #writer(reference: ImageReference, { digest, size }: Descriptor): Promise<Ingest | undefined> {
    try {
      return await this.#content.writer(ingestRef(digest, reference), { digest, size });
    } catch (error) {
      if (codeOf(error) === "already_exists") return undefined;
      throw error;
    }
  }
}

function another(reference: ImageReference, digest: Digest, what: string, cause?: unknown): Failure {
  return new Failure(
    "data_loss",
    `cannot pull "${formatReference(reference)}": what came for blob ${digest} has ${what}`,
    { cause, details: { digest } },
  );
}
