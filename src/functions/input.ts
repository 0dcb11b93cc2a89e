import type { Failure } from "../core/errors.ts";
import { bodyTooLarge, cancelled } from "./failures.ts";

/** Carries a request's body into a container's stdin, no faster than the container reads. */
export class Input {
  /** Bytes handed over so far. */
  bytes = 0;
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  readonly #limit: number;
  readonly #done: Promise<void>;
  #stopped = false;

  /**
   * @param limit the most bytes that a body may have; 0 is no limit.
   * @param onFailure told once where the body is over the limit or ends too early; never for a container that stops reading.
   */
  constructor(
    body: ReadableStream<Uint8Array>,
    stdin: WritableStream<Uint8Array>,
    limit: number,
    onFailure: (failure: Failure) => void,
  ) {
    this.#reader = body.getReader();
    this.#writer = stdin.getWriter();
    this.#limit = limit === 0 ? Infinity : limit;
    // The stream's own closed promise rejects when the container stops reading, which is its right.
    this.#writer.closed.catch(() => {});
    this.#done = this.#carry(onFailure);
  }

  async #carry(onFailure: (failure: Failure) => void): Promise<void> {
    while (true) {
      let chunk: { readonly done: boolean; readonly value?: Uint8Array | undefined };
      try {
        chunk = await this.#reader.read();
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
