import type { Failure } from "../core/errors.ts";
import type { FunctionSettings } from "../core/function.ts";
import { Pace } from "../core/pace.ts";
import { bodyTooLarge, bodyTooSlow, cancelled } from "./failures.ts";

/** Carries a request's body into a container's stdin, no faster than the container reads. */
export class Input {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  readonly #limit: number;
  readonly #timeoutMs: number;
  readonly #pace: Pace;
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
    this.#pace = new Pace(limits.bodyTimeoutMs);
    // The stream's own closed promise rejects when the container stops reading, which is its right.
    this.#writer.closed.catch(() => {});
    this.#done = this.#carry(onFailure);
  }

  /** Bytes handed over so far. */
  get bytes(): number {
    return this.#pace.bytes;
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
        this.#pace.bytes += chunk.value.length;
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
    return await this.#pace.wait(this.#reader.read(), () => {
      if (this.#stopped) return;
      this.#late = true;
      onFailure(bodyTooSlow(this.#timeoutMs, this.bytes));
      this.#reader.cancel().catch(() => {});
    });
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
