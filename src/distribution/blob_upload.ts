import type { Descriptor } from "../core/descriptor.ts";
import type { Arrival } from "../core/distribution.ts";
import { Failure } from "../core/errors.ts";
import type { Answer } from "./answer.ts";
import { pause } from "./cancel.ts";
import { redirected } from "./redirect.ts";
import { retryDelay, type RetryPolicy } from "./retry.ts";
import type { Exchange } from "./transport.ts";

/** The largest chunk that a registry may ask for. */
const maxChunkBytes = 64 << 20;
/** How many repositories are asked for a blob before it is sent. */
const maxMounts = 2;

export interface BlobUploadOptions {
  readonly descriptor: Descriptor;
  /** The blob's bytes from an offset on. */
  readonly source: (offset: number) => AsyncIterable<Uint8Array>;
  /** Other repositories of the registry that may have it. */
  readonly from: readonly string[];
  /** How much is sent in one request. */
  readonly chunkBytes: number;
  readonly retry: RetryPolicy;
  readonly signal: AbortSignal | undefined;
  readonly onSent: ((bytes: number) => void) | undefined;
  /** Sends a request to the repository. @param to below it (`blobs/uploads/`), or where the registry said. */
  readonly ask: (to: string | URL, request: UploadRequest) => Promise<Answer>;
  /** The failure of an answer that is none of the wanted ones. */
  readonly refusal: (answer: Answer) => Promise<Failure>;
}

export type UploadRequest = Pick<Exchange, "method" | "body" | "headers" | "repeatable">;

/** Where the next bytes go, and how many the registry has. */
interface Session {
  readonly location: URL;
  readonly offset: number;
  readonly chunkBytes: number;
}

/**
 * One blob on its way to a registry: asked for, mounted, or sent in one request or in chunks.
 * @see https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md#pushing-blobs
 */
export class BlobUpload {
  readonly #options: BlobUploadOptions;

  constructor(options: BlobUploadOptions) {
    this.#options = options;
  }

  /** @throws what the registry answers; what the source throws. */
  async run(): Promise<Arrival> {
    const { retry, signal } = this.#options;
    let session: Session | undefined;
    for (let failures = 0;;) {
      const before: number = session?.offset ?? 0;
      try {
        if (session === undefined) {
          if (await this.#exists()) return failures === 0 ? "exists" : "uploaded";
          const begun = await this.#begin();
          if (begun === undefined) return "mounted";
          session = begun;
        }
        for await (const step of this.#send(session)) session = step;
        return "uploaded";
      } catch (error) {
        failures = (session?.offset ?? 0) > before ? 1 : failures + 1;
        const asked = error instanceof Failure ? error.details?.["retryAfter"] : undefined;
        const delay = retryable(error, session) && !signal?.aborted
          ? retryDelay(retry, failures, typeof asked === "string" ? asked : undefined)
          : undefined;
        if (delay === undefined) {
          if (session !== undefined) await this.#cancel(session);
          throw error;
        }
        await pause(delay, signal);
        session = session === undefined ? undefined : await this.#status(session);
      }
    }
  }

  async #exists(): Promise<boolean> {
    const answer = await this.#options.ask(`blobs/${this.#options.descriptor.digest}`, { method: "HEAD" });
    await answer.discard();
    if (answer.ok || answer.status === 404) return answer.ok;
    // What it says against a HEAD is nothing; what it says against an upload has a body.
    if (answer.status < 500 && answer.status !== 429) return false;
    throw await this.#refused(answer);
  }

  /** @returns undefined where another repository's blob was mounted. */
  async #begin(): Promise<Session | undefined> {
    const { descriptor, from, ask } = this.#options;
    for (const repository of from.slice(0, maxMounts)) {
      const query = new URLSearchParams({ mount: descriptor.digest, from: repository });
      const answer = await ask(`blobs/uploads/?${query}`, { method: "POST" });
      await answer.discard();
      if (answer.status === 201) return undefined;
      // It has begun an upload in place of it. One that may not read the other repository refuses.
      if (answer.status === 202) return this.#session(answer, 0);
    }
    const answer = await ask("blobs/uploads/", { method: "POST" });
    if (answer.status !== 202) throw await this.#refused(answer);
    await answer.discard();
    return this.#session(answer, 0);
  }

  /** Sends what the registry lacks. Yields how far it is after each request. */
  async *#send(begun: Session): AsyncGenerator<Session> {
    const { descriptor, ask, onSent } = this.#options;
    let session = begun;
    // One request is enough for what is small.
    const whole = session.offset === 0 && descriptor.size <= session.chunkBytes;
    let last: Uint8Array<ArrayBuffer> = new Uint8Array(0);
    for await (const chunk of this.#chunks(session)) {
      last = chunk;
      if (whole) break;
      const [start, end] = [session.offset, session.offset + chunk.length];
      const headers = { "content-type": "application/octet-stream", "content-range": `${start}-${end - 1}` };
      const answer = await ask(session.location, { method: "PATCH", headers, body: chunk });
      if (answer.status !== 202 && answer.status !== 204) throw await this.#refused(answer);
      await answer.discard();
      session = this.#session(answer, end, session.chunkBytes);
      onSent?.(session.offset);
      yield session;
    }
    const url = new URL(session.location);
    url.searchParams.set("digest", descriptor.digest);
    const headers = { "content-type": "application/octet-stream" };
    const answer = await ask(url, { method: "PUT", headers, body: whole ? last : new Uint8Array(0) });
    if (answer.status !== 201 && answer.status !== 204) throw await this.#refused(answer);
    await answer.discard();
    onSent?.(descriptor.size);
  }

  /** The rest of the blob in pieces of one request each. A piece is valid until the next one. */
  async *#chunks({ offset, chunkBytes }: Session): AsyncGenerator<Uint8Array<ArrayBuffer>> {
    const { size } = this.#options.descriptor;
    const buffer = new Uint8Array(Math.min(chunkBytes, size - offset));
    if (buffer.length === 0) return;
    let filled = 0;
    for await (const bytes of this.#options.source(offset)) {
      for (let at = 0; at < bytes.length;) {
        const piece = bytes.subarray(at, at + buffer.length - filled);
        buffer.set(piece, filled);
        filled += piece.length;
        at += piece.length;
        if (filled < buffer.length) continue;
        yield buffer;
        filled = 0;
      }
    }
    if (filled > 0) yield buffer.subarray(0, filled);
  }

  /** How far a registry is with what may have been lost on the way; undefined where it knows nothing of it. */
  async #status({ location, chunkBytes }: Session): Promise<Session | undefined> {
    const answer = await this.#options.ask(location, { method: "GET" });
    await answer.discard();
    if (answer.status !== 204 && answer.status !== 200) return undefined;
    const last = /^(?:bytes=)?0-([0-9]{1,15})$/.exec(answer.headers.get("range") ?? "")?.[1];
    if (last === undefined) return undefined;
    // Both "nothing" and "the first byte" are written 0-0.
    const offset = last === "0" ? 0 : Number(last) + 1;
    return offset > this.#options.descriptor.size || offset === 0
      ? undefined
      : this.#session(answer, offset, chunkBytes);
  }

  /** It would run out by itself; a registry that hears of it need not keep the bytes so long. */
  async #cancel({ location }: Session): Promise<void> {
    try {
      await (await this.#options.ask(location, { method: "DELETE" })).discard();
    } catch {
      // What went wrong before is told, not this.
    }
  }

  #session(answer: Answer, offset: number, chunkBytes = this.#options.chunkBytes): Session {
    const location = answer.headers.get("location");
    if (location === null) {
      throw new Failure("unavailable", `${answer.url.host} began an upload and did not say where it goes`);
    }
    const least = Number(answer.headers.get("oci-chunk-min-length") ?? 0);
    if (!(least <= maxChunkBytes)) {
      throw new Failure(
        "unimplemented",
        `${answer.url.host} wants chunks of ${least} bytes, ${maxChunkBytes} are the most that can be sent`,
      );
    }
    return { location: redirected(answer.url, location), offset, chunkBytes: Math.max(chunkBytes, least) };
  }

  async #refused(answer: Answer): Promise<Failure> {
    const failure = await this.#options.refusal(answer);
    const retryAfter = answer.headers.get("retry-after");
    if (retryAfter === null) return failure;
    return new Failure(failure.code, failure.message, { cause: failure, details: { ...failure.details, retryAfter } });
  }
}

function retryable(error: unknown, session: Session | undefined): boolean {
  if (!(error instanceof Failure)) return false;
  if (error.code === "unavailable" || error.code === "deadline_exceeded") return true;
  const status = error.details?.["status"];
  // An upload that is not known any more, or has other bytes than we believe: a chunk came twice, or half of one.
  return status === 429 || session !== undefined && (status === 404 || status === 416);
}
