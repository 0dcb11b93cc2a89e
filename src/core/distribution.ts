import type { Descriptor } from "./descriptor.ts";
import type { Digest } from "./digest.ts";
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
  /**
   * Asks which manifests are about another one: its signatures, for example. Where a registry does not know that, the tag
   * that stands in for it is read.
   * @param reference with the digest of the one that they are about.
   * @returns none where nobody knows of any.
   * @throws as `fetch`.
   * @see https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md#listing-referrers
   */
  referrers(
    reference: ImageReference & { readonly digest: Digest },
    options?: DistributionOptions,
  ): Promise<readonly Descriptor[]>;
  /**
   * Brings a blob to the repository of a reference, unless it is there. Where sending breaks off, it goes on at the byte that
   * the registry has.
   * @param source the blob's bytes from an offset on.
   * @throws as `resolve`; data_loss where the registry says that other bytes came than the digest names.
   */
  pushBlob(
    reference: ImageReference,
    descriptor: Descriptor,
    source: (offset: number) => AsyncIterable<Uint8Array>,
    options?: PushOptions,
  ): Promise<Arrival>;
  /**
   * Puts a manifest or index, whose blobs are there already, under its digest, or under the reference's tag where it has one.
   * @throws as `resolve`; failed_precondition where the registry misses what it names.
   */
  pushManifest(
    reference: ImageReference,
    descriptor: Descriptor,
    bytes: Uint8Array<ArrayBuffer>,
    options?: DistributionOptions,
  ): Promise<void>;
}

/** How a blob came to a repository: it was there, another repository of the registry gave it, or it was sent. */
export type Arrival = "exists" | "mounted" | "uploaded";

export interface PushOptions extends DistributionOptions {
  /** Other repositories of the same registry that may have the blob: it need not be sent then. */
  readonly from?: readonly string[];
  /** Called with the number of bytes that the registry has. */
  readonly onSent?: (bytes: number) => void;
}

/** How to reach a registry. */
export interface DistributionOptions {
  readonly signal?: AbortSignal;
  /** In place of what Docker's `config.json` says. */
  readonly credentials?: { readonly username: string; readonly password: string };
  /** http (true) or https (false). Default: http for this machine and for the registries configured so, https for others. */
  readonly plainHttp?: boolean;
}
