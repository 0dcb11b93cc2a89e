import type { ContentInfo, ContentStore, Ingest } from "../core/content.ts";
import type { Digest } from "../core/digest.ts";
import { codeOf, Failure } from "../core/errors.ts";
import { KeyedLock } from "../core/keyed_lock.ts";
import type { Repository, RepositoryStore } from "../core/repository.ts";
import type { WriteBarrier } from "../core/write_barrier.ts";
import { bodyParts } from "./body.ts";
import { refusal } from "./errors.ts";
import type { RegistryLimits } from "./limits.ts";

const refPrefix = "upload/";

export interface UploadsParts {
  readonly content: ContentStore;
  readonly repositories: RepositoryStore;
  readonly barrier: WriteBarrier;
  readonly limits: RegistryLimits;
  readonly onError: (error: unknown, what: string) => void;
}

/** One blob on its way in. */
export interface Upload {
  readonly id: string;
  readonly at: Repository;
  /** Bytes that have come. */
  readonly offset: number;
}

interface OpenUpload extends Upload {
  readonly ref: string;
  offset: number;
  usedMs: number;
  ingest?: Ingest | undefined;
  /** Ends the request that works on it. */
  current?: AbortController | undefined;
}

/**
 * Uploads of blobs. Each is an ingest of the content store whose ref says where it belongs, so that a restart finds those
 * that were under way, at the byte that is on disk.
 */
export class Uploads implements AsyncDisposable {
  readonly #parts: UploadsParts;
  readonly #uploads = new Map<string, OpenUpload>();
  readonly #turns = new KeyedLock();
  readonly #timer: ReturnType<typeof setInterval>;

  /** Takes up the uploads that an earlier process left. */
  static async open(parts: UploadsParts): Promise<Uploads> {
    const uploads = new Uploads(parts);
    for (const { ref, offset } of await parts.content.ingests()) {
      const [, namespace, repository, id] = /^upload\/([^/]+)\/(.+)\/([^/]+)$/.exec(ref) ?? [];
      if (namespace === undefined || repository === undefined || id === undefined) continue;
      uploads.#uploads.set(id, { id, ref, at: { namespace, repository }, offset, usedMs: Date.now() });
    }
    return uploads;
  }

  private constructor(parts: UploadsParts) {
    this.#parts = parts;
    this.#timer = setInterval(() => {
      this.#sweep().catch((error) => parts.onError(error, "cannot remove uploads that have expired"));
    }, parts.limits.uploadQuietMs);
  }

  /** @throws TOOMANYREQUESTS. */
  async start(at: Repository): Promise<Upload> {
    const others = [...this.#uploads.values()].filter((upload) => upload.at.namespace === at.namespace);
    if (others.length >= this.#parts.limits.uploads) {
      const [oldest] = others.filter((upload) => this.#isQuiet(upload)).sort((a, b) => a.usedMs - b.usedMs);
      if (oldest === undefined) {
        throw refusal(
          "TOOMANYREQUESTS",
          `cannot start an upload: ${others.length} of this namespace are under way, the limit: try again later`,
        );
      }
      await this.cancel(oldest);
    }
    const id = crypto.randomUUID();
    const upload: OpenUpload = {
      id,
      at,
      ref: `${refPrefix}${at.namespace}/${at.repository}/${id}`,
      offset: 0,
      usedMs: Date.now(),
    };
    this.#uploads.set(id, upload);
    return upload;
  }

  /** @throws BLOB_UPLOAD_UNKNOWN. */
  get({ namespace, repository }: Repository, id: string): Upload {
    const upload = this.#uploads.get(id);
    if (upload?.at.namespace === namespace && upload.at.repository === repository) return upload;
    throw unknown();
  }

  /**
   * Adds a body to what has come. One that breaks off leaves what came of it.
   * @param options.offset where its sender thinks that the upload is. @param options.length how long it says the body is.
   * @returns false, having taken nothing, where the upload is elsewhere.
   * @throws BLOB_UPLOAD_INVALID; SIZE_INVALID for another length; as `get`.
   */
  append(
    { id }: Upload,
    body: ReadableStream<Uint8Array> | null,
    { offset, length }: { readonly offset?: number | undefined; readonly length?: number | undefined } = {},
  ): Promise<boolean> {
    return this.#turn(id, async (upload, signal) => {
      const ingest = await this.#ingest(upload);
      if (offset !== undefined && offset !== upload.offset) return false;
      const begin = upload.offset;
      const { bodyTimeoutMs: timeoutMs } = this.#parts.limits;
      try {
        for await (const part of bodyParts(body, { timeoutMs, code: "BLOB_UPLOAD_INVALID", signal })) {
          if (length !== undefined && upload.offset + part.length > begin + length) throw wrongLength(length);
          await ingest.write(part);
          upload.offset = ingest.offset;
        }
      } catch (error) {
        if (codeOf(error) !== "resource_exhausted") throw error;
        // Either the disk is full, or the blob is larger than one may be: nothing of it is of use.
        await this.#drop(upload);
        const tooLarge = error instanceof Failure && error.details?.["limitBytes"] !== undefined;
        throw tooLarge ? refusal("SIZE_INVALID", error.message, { cause: error, status: 413 }) : error;
      } finally {
        upload.usedMs = Date.now();
      }
      if (length !== undefined && upload.offset !== begin + length) throw wrongLength(length);
      return true;
    });
  }

  /**
   * Makes a blob of what has come, and links it.
   * @throws DIGEST_INVALID, and nothing is kept; as `get`.
   */
  commit({ id }: Upload, digest: Digest): Promise<ContentInfo> {
    return this.#turn(id, async (upload) => {
      const ingest = await this.#ingest(upload);
      try {
        using _pin = await this.#parts.barrier.pin(`content/${digest}`);
        const info = await ingest.commit({ digest });
        await this.#parts.repositories.putBlobs(upload.at, [digest]);
        this.#uploads.delete(id);
        return info;
      } catch (error) {
        await this.#drop(upload);
        if (codeOf(error) !== "failed_precondition") throw error;
        const came = error instanceof Failure ? error.details?.["digest"] : undefined;
        throw refusal("DIGEST_INVALID", `cannot take blob ${digest}: what came has the digest ${came}`, {
          cause: error,
          about: [{ digest }],
        });
      }
    });
  }

  /** Ends an upload and forgets what has come. @throws as `get`. */
  cancel({ id }: Upload): Promise<void> {
    return this.#turn(id, (upload) => this.#drop(upload));
  }

  /** Puts down what is under way; the next process can go on. */
  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    for (const { id } of [...this.#uploads.values()]) {
      await this.#turn(id, (upload) => putDown(upload)).catch((error) => {
        if (codeOf(error) !== "not_found") throw error;
      });
    }
    this.#uploads.clear();
  }

  /** Works on an upload alone. Whoever was at it gives way: a client whose connection broke comes again on another. */
  async #turn<T>(id: string, work: (upload: OpenUpload, signal: AbortSignal) => Promise<T>): Promise<T> {
    this.#uploads.get(id)?.current?.abort();
    return await this.#turns.hold(id, async () => {
      const upload = this.#uploads.get(id);
      if (upload === undefined) throw unknown();
      const current = new AbortController();
      upload.current = current;
      try {
        return await work(upload, current.signal);
      } finally {
        upload.current = undefined;
      }
    });
  }

  async #ingest(upload: OpenUpload): Promise<Ingest> {
    upload.ingest ??= await this.#parts.content.writer(upload.ref);
    upload.offset = upload.ingest.offset;
    return upload.ingest;
  }

  async #drop(upload: OpenUpload): Promise<void> {
    this.#uploads.delete(upload.id);
    await putDown(upload);
    try {
      await this.#parts.content.abort(upload.ref);
    } catch (error) {
      // Nothing has come yet, or its bytes have become a blob.
      if (codeOf(error) !== "not_found") throw error;
    }
  }

  #isQuiet({ current, usedMs }: OpenUpload): boolean {
    return current === undefined && Date.now() - usedMs >= this.#parts.limits.uploadQuietMs;
  }

  async #sweep(): Promise<void> {
    const now = Date.now();
    for (const { id, usedMs } of [...this.#uploads.values()].filter((upload) => this.#isQuiet(upload))) {
      const expired = now - usedMs > this.#parts.limits.uploadExpiryMs;
      await this.#turn(id, (upload) => expired ? this.#drop(upload) : putDown(upload));
    }
  }
}

/** Writes what has come to disk and gives up the file. */
async function putDown(upload: OpenUpload): Promise<void> {
  const { ingest } = upload;
  upload.ingest = undefined;
  await ingest?.[Symbol.asyncDispose]();
}

function unknown(): Failure {
  return refusal("BLOB_UPLOAD_UNKNOWN", "no such upload is under way in this repository: start one");
}

function wrongLength(length: number): Failure {
  return refusal("SIZE_INVALID", `cannot take the chunk: it has not the ${length} bytes that its Content-Range says`);
}
