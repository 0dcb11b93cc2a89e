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
   * @param offset bytes that the caller has already. Where the registry cannot continue there, `offset` of the answer is 0.
   */
  fetch(
    reference: ImageReference,
    descriptor: Descriptor,
    options?: DistributionOptions & { readonly offset?: number },
  ): Promise<{ readonly offset: number; readonly body: ReadableStream<Uint8Array<ArrayBuffer>> }>;
}

export interface DistributionOptions {
  readonly signal?: AbortSignal;
  /** In place of what Docker's `config.json` says. */
  readonly credentials?: { readonly username: string; readonly password: string };
  /** http (true) or https (false). Default: http for this machine and for the registries configured so, https for others. */
  readonly plainHttp?: boolean;
}
