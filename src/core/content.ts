import type { Digest } from "./digest.ts";

/**
 * The content store: immutable blobs, addressed by digest.
 *
 * Content enters by an *ingest*, named by a ref that its writer chooses (`layer-sha256:…`). An ingest survives a crash and
 * can be taken up at the byte it reached. `commit` verifies size and digest and makes the blob appear at once, or not at
 * all. Content that nothing refers to is removed by garbage collection; whoever works on some holds a lease.
 */
export interface ContentStore {
  /** @throws not_found. */
  info(digest: Digest): Promise<ContentInfo>;
  /**
   * Streams a blob, or a part of it.
   * @throws before the first byte: not_found; invalid_argument for a range that is not within the blob.
   */
  read(
    digest: Digest,
    range?: { readonly offset?: number; readonly length?: number },
  ): Promise<ReadableStream<Uint8Array<ArrayBuffer>>>;
  /**
   * Reads a whole small blob and verifies its digest.
   * @param limitBytes the largest size that the caller wants in memory.
   * @throws not_found; resource_exhausted over the limit; data_loss when the bytes do not match the digest.
   */
  bytes(digest: Digest, limitBytes: number): Promise<Uint8Array<ArrayBuffer>>;
  /**
   * Opens an ingest, at the byte that an earlier one of the same ref reached.
   * @throws unavailable when another writer holds the ref; already_exists when `expected.digest` is in the store;
   * resource_exhausted when `expected.size` is more than a blob may have; invalid_argument for a ref that is empty or long.
   */
  writer(ref: string, expected?: ExpectedContent): Promise<Ingest>;
  /** Every blob, in no order. @param wanted tells of a digest whether its blob is to be among them. Default: all. */
  list(wanted?: (digest: Digest) => boolean): AsyncIterable<ContentInfo>;
  /** Every ingest that is not committed. */
  ingests(): Promise<readonly IngestInfo[]>;
  /** Drops an ingest. @throws not_found; unavailable while a writer holds it. */
  abort(ref: string): Promise<void>;
  /** Removes a blob. For garbage collection; nobody else. @throws not_found. */
  delete(digest: Digest): Promise<void>;
}

/** One blob. */
export interface ContentInfo {
  readonly digest: Digest;
  readonly size: number;
  readonly createdAt: Date;
}

/** What a writer knows of a blob before it has it: `commit` holds it to that. */
export interface ExpectedContent {
  readonly digest?: Digest;
  readonly size?: number;
}

/** One ingest that is not committed. */
export interface IngestInfo {
  readonly ref: string;
  /** Bytes written so far. */
  readonly offset: number;
  readonly startedAt: Date;
}

/** One writer's hold on an ingest. Disposing without `commit` closes it and keeps its bytes for a later resume. */
export interface Ingest extends AsyncDisposable {
  readonly ref: string;
  /** Bytes written so far, those of an earlier writer included. */
  readonly offset: number;
  /** @throws resource_exhausted past the expected size; the disk's own errors. */
  write(chunk: Uint8Array): Promise<void>;
  /** Throws the bytes away and starts again at offset 0. */
  truncate(): Promise<void>;
  /**
   * Verifies and publishes. A blob that is there already is no error.
   * @param expected what the writer knows by now, beside what it knew when it opened the ingest.
   * @param options.hold called with the digest, when it is known and before a blob of it is looked for: keeps it from garbage
   * collection.
   * @throws failed_precondition when size or digest differ from what was expected; the ingest is dropped then.
   */
  commit(
    expected?: ExpectedContent,
    options?: { readonly hold?: (digest: Digest) => Promise<void> },
  ): Promise<ContentInfo>;
}
