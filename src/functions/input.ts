import type { Failure } from "../core/errors.ts";
import type { FunctionSettings } from "../core/function.ts";
import { bodyTooLarge, bodyTooSlow, cancelled } from "./failures.ts";

/** The pace at which a caller's time does not run out. */
const leastBytesPerMs = 1024 / 1000;

/** Carries a request's body into a container's stdin, no faster than the container reads. */
export class Input {
  /** Bytes handed over so far. */
  bytes = 0;
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  readonly #limit: number;
  readonly #timeoutMs: number;
  #waitedMs = 0;
  readonly #done: Promise<void>;
  #stopped = false;
  #late = false;

  /**
   * @param limits.maxBodyBytes the most that a body may have; 0 is no limit.
   * @param limits.bodyTimeoutMs how long its caller may keep it waiting, as `core/function.ts` says; 0 is no limit.
   * @param onFailure told once where the body is over a limit or ends too early; never for a container that stops reading.
   */
  constructor(
    body: ReadableStream<Uint8Array>,
    stdin: WritableStream<Uint8Array>,
    limits: Pick<FunctionSettings, "maxBodyBytes" | "bodyTimeoutMs">,
    onFailure: (failure: Failure) => void,
  ) {
    this.#reader = body.getReader();
    this.#writer = stdin.getWriter();
    this.#limit = limits.maxBodyBytes || Infinity;
    this.#timeoutMs = limits.bodyTimeoutMs;
    // The stream's own closed promise rejects when the container stops reading, which is its right.
    this.#writer.closed.catch(() => {});
    this.#done = this.#carry(onFailure);
  }

  async #carry(onFailure: (failure: Failure) => void): Promise<void> {
    while (true) {
      let chunk: { readonly done: boolean; readonly value?: Uint8Array | undefined };
      try {
        chunk = await this.#next(onFailure);
        if (this.#late) return await this.#abandon();
      } catch (cause) {
        if (!this.#stopped) {
          onFailure(cancelled(cause));
        }
        return await this.#abandon();
      }
      try {
        if (chunk.value === undefined) return await this.#writer.close();
        this.bytes += chunk.value.length;
        if (this.bytes > this.#limit) {
          onFailure(bodyTooLarge(this.#limit));
          return await this.#abandon();
        }
        await this.#writer.write(chunk.value);
      } catch {
        // The container has closed its stdin or has ended: the rest of the body has no reader.
        return await this.#abandon();
      }
    }
  }

  /** The next part of the body, for which its caller has so much time. */
  async #next(onFailure: (failure: Failure) => void) {
    if (this.#timeoutMs === 0) return await this.#reader.read();
    const begin = performance.now();
    const leftMs = this.#timeoutMs + this.bytes / leastBytesPerMs - this.#waitedMs;
    const timer = setTimeout(() => {
      if (this.#stopped) return;
      this.#late = true;
      onFailure(bodyTooSlow(this.#timeoutMs, this.bytes));
      this.#reader.cancel().catch(() => {});
    }, leftMs);
    try {
      return await this.#reader.read();
    } finally {
      clearTimeout(timer);
      this.#waitedMs += performance.now() - begin;
    }
  }

  /** Ends the carrying, wherever it is. Called when the container has ended; never fails. */
  async stop(): Promise<void> {
    if (!this.#stopped) {
      this.#stopped = true;
      await this.#abandon();
    }
    await this.#done;
  }

  async #abandon(): Promise<void> {
    await Promise.allSettled([this.#reader.cancel(), this.#writer.abort()]);
  }
}
