import { Failure } from "../core/errors.ts";
import { GrowingBytes } from "../core/growing_bytes.ts";
import { interrupted } from "./cancel.ts";

/** A deadline that is moved on, and the caller's signal, as one AbortController for a request and its body. */
export class Patience {
  readonly #controller = new AbortController();
  readonly #signal: AbortSignal | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(signal: AbortSignal | undefined) {
    this.#signal = signal;
    if (signal?.aborted) this.#give();
    else signal?.addEventListener("abort", this.#give, { once: true });
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /**
   * Runs one step that has to end within a time. It is not waited for when that is over: a body may not hear of its
   * request's signal any more (Deno forgets it when the `Response` is collected).
   * @throws deadline_exceeded, or the caller's reason.
   */
  async within<T>(ms: number, what: string, step: () => Promise<T>): Promise<T> {
    const { signal } = this;
    signal.throwIfAborted();
    const { promise: over, reject } = Promise.withResolvers<never>();
    const give = () => reject(signal.reason);
    signal.addEventListener("abort", give);
    this.#timer = setTimeout(() => {
      this.#controller.abort(new Failure("deadline_exceeded", `${what} within ${ms / 1000} s`));
    }, ms);
    try {
      return await Promise.race([step(), over]);
    } catch (error) {
      throw signal.aborted ? signal.reason : error;
    } finally {
      clearTimeout(this.#timer);
      signal.removeEventListener("abort", give);
    }
  }

  /** Forgets the caller's signal. */
  end(): void {
    this.#signal?.removeEventListener("abort", this.#give);
  }

  readonly #give = () => this.#controller.abort(interrupted(this.#signal?.reason));
}

/** The answer to one request, whose body is read on demand and cannot stall. One of its readers has to be used. */
export class Answer {
  readonly status: number;
  readonly headers: Headers;
  /** Where the answer came from, after redirects. */
  readonly url: URL;
  readonly #reader: ReadableStreamDefaultReader<Uint8Array<ArrayBuffer>> | undefined;
  readonly #patience: Patience;
  readonly #stallMs: number;

  constructor(response: Response, url: URL, patience: Patience, stallMs: number) {
    this.status = response.status;
    this.headers = response.headers;
    this.url = url;
    this.#reader = response.body?.getReader();
    this.#patience = patience;
    this.#stallMs = stallMs;
  }

  get ok(): boolean {
    return this.status >= 200 && this.status < 300;
  }

  /** The next chunk of the body; undefined at its end. @throws deadline_exceeded when none comes; what cut the body. */
  async read(): Promise<Uint8Array<ArrayBuffer> | undefined> {
    const reader = this.#reader;
    if (reader === undefined) {
      this.#patience.end();
      return undefined;
    }
    try {
      const late = `${this.url.host} sent nothing more`;
      const { done, value } = await this.#patience.within(this.#stallMs, late, () => reader.read());
      if (!done) return value;
    } catch (error) {
      await this.discard();
      throw error;
    }
    this.#patience.end();
    return undefined;
  }

  /** Reads the whole body. @throws resource_exhausted when it has more than `limitBytes`. */
  async bytes(limitBytes: number): Promise<Uint8Array<ArrayBuffer>> {
    const body = new GrowingBytes();
    for (let chunk = await this.read(); chunk !== undefined; chunk = await this.read()) {
      if (body.length + chunk.length > limitBytes) {
        await this.discard();
        throw new Failure("resource_exhausted", `${this.url.host} sent more than ${limitBytes} bytes`);
      }
      body.push(chunk);
    }
    return body.bytes();
  }

  /** Drops the rest of the body and its connection. */
  async discard(): Promise<void> {
    this.#patience.end();
    // What was already cut cannot be cut again.
    await this.#reader?.cancel().catch(() => {});
  }
}
