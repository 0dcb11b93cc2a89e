import type { Descriptor } from "./descriptor.ts";
import type { ImageReference } from "./reference.ts";

/** Moves content between this machine and registries. */
export interface Distribution {
  /**
   * Asks what a reference names. Nothing but its headers is read.
   * @throws not_found; unauthenticated; permission_denied; unavailable; invalid_argument for what is no manifest.
   */
  resolve(reference: ImageReference, options?: DistributionOptions): Promise<Descriptor>;
  /**
   * Streams a manifest or blob, unverified: the content store's ingest verifies it.
   * @param options.offset bytes that the caller has already; where the registry cannot continue there, that of the answer
   * is 0.
   * @throws as `resolve`; resource_exhausted for a manifest of more than 4 MiB; data_loss for an answer that is not what was
   * asked for. A body that breaks off errors its stream with `unavailable`.
   */
  fetch(
    reference: ImageReference,
    descriptor: Descriptor,
    options?: DistributionOptions & { readonly offset?: number },
  ): Promise<{ readonly offset: number; readonly body: ReadableStream<Uint8Array<ArrayBuffer>> }>;
}

/** How to reach a registry. */
export interface DistributionOptions {
  readonly signal?: AbortSignal;
  /** In place of what Docker's `config.json` says. */
  readonly credentials?: { readonly username: string; readonly password: string };
  /** http (true) or https (false). Default: http for this machine and for the registries configured so, https for others. */
  readonly plainHttp?: boolean;
}
