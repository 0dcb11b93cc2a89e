import type { ContentStore, Ingest } from "../core/content.ts";
import type { Descriptor } from "../core/descriptor.ts";
import type { Distribution, DistributionOptions } from "../core/distribution.ts";
import { codeOf, Failure } from "../core/errors.ts";
import { formatReference, type ImageReference } from "../core/reference.ts";
import { isThere } from "./blob_state.ts";
import { ingestRef } from "./hold.ts";
import { counted, type OnProgress } from "./progress.ts";
import { SingleFlight } from "./single_flight.ts";

/**
 * Brings blobs from registries into the content store, each once at a time from each repository, and goes on where an
 * attempt had stopped.
 */
export class Fetcher {
  readonly #content: ContentStore;
  readonly #distribution: Distribution;
  readonly #flights = new SingleFlight<void>();

  constructor(content: ContentStore, distribution: Distribution) {
    this.#content = content;
    this.#distribution = distribution;
  }

  /** @throws data_loss when size or digest differ from the descriptor's; what the registry answers. */
  async fetch(
    reference: ImageReference,
    descriptor: Descriptor,
    options: DistributionOptions & { readonly onProgress?: OnProgress | undefined },
  ): Promise<void> {
    const { digest, size } = descriptor;
    const { onProgress, signal, ...rest } = options;
    if (await isThere(this.#content, digest)) {
      return onProgress?.({ digest, phase: "exists", bytes: size, total: size });
    }
    await this.#flights.run(
      ingestRef(digest, reference),
      signal,
      (signal) => this.#bring(reference, descriptor, { ...rest, signal }, onProgress),
    );
    onProgress?.({ digest, phase: "done", bytes: size, total: size });
  }

  /** What came of a blob is kept for the next attempt, unless it takes the room that is wanted. */
  async #bring(
    reference: ImageReference,
    descriptor: Descriptor,
    options: DistributionOptions,
    onProgress: OnProgress | undefined,
  ): Promise<void> {
    try {
      await this.#fetch(reference, descriptor, options, onProgress);
    } catch (error) {
      if (error instanceof Failure && (error.errno === "ENOSPC" || error.errno === "EDQUOT")) {
        // The error that led here is not to be hidden: garbage collection takes what cannot be removed now.
        await this.#content.abort(ingestRef(descriptor.digest, reference)).catch(() => {});
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
      const name = formatReference(reference);
      const came = error.details?.digest ?? "another";
      throw new Failure("data_loss", `cannot pull "${name}": what came for blob ${digest} has the digest ${came}`, {
        cause: error,
        details: { digest },
      });
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
