import { Failure } from "../core/errors.ts";
import type { Answer } from "./answer.ts";
import { connectionFailure } from "./connection_failure.ts";

export interface BlobBodyOptions {
  /** How errors begin: `cannot fetch sha256:… of …`. */
  readonly action: string;
  /** The answer that the body begins with, and the byte where it does. */
  readonly answer: Answer;
  readonly offset: number;
  /** Where the body has to end. */
  readonly size: number;
  readonly signal: AbortSignal | undefined;
  /** Called once nothing more is asked of the registry. */
  readonly onEnd: () => void;
  /** Asks for the rest after a lost connection; undefined where the registry cannot go on there. */
  readonly resume: (offset: number, failures: number) => Promise<Answer | undefined>;
}

/**
 * A blob's bytes up to its size, over as many connections as it takes. It ends with an error when more or fewer come; what
 * they are is for the content store to verify.
 */
export function blobBody(options: BlobBodyOptions): ReadableStream<Uint8Array<ArrayBuffer>> {
  const { action, size } = options;
  let { answer, offset } = options;
  let failures = 0;

  /** The next chunk, from another connection where the first was lost. */
  async function next(): Promise<Uint8Array<ArrayBuffer> | undefined> {
    for (;;) {
      let lost: Failure;
      try {
        const chunk = await answer.read();
        if (chunk !== undefined || offset === size) return chunk;
        lost = new Failure("data_loss", `${action}: it ends at byte ${offset}, expected were ${size}`);
      } catch (error) {
        if (offset === size) return undefined;
        lost = connectionFailure(`${action}: at byte ${offset} of ${size}`, error);
      }
      await answer.discard();
      if (options.signal?.aborted) throw lost;
      const resumed = await options.resume(offset, ++failures);
      if (resumed === undefined) throw lost;
      answer = resumed;
    }
  }

  return new ReadableStream({
    async pull(controller) {
      const chunk = await next().catch((error: unknown) => {
        options.onEnd();
        throw error;
      });
      if (chunk === undefined) {
        options.onEnd();
        return controller.close();
      }
      if (offset + chunk.length > size) {
        options.onEnd();
        await answer.discard();
        throw new Failure("data_loss", `${action}: the registry sends more than the ${size} bytes that were announced`);
      }
      offset += chunk.length;
      if (chunk.length > 0) failures = 0;
      controller.enqueue(chunk);
    },
    cancel() {
      options.onEnd();
      return answer.discard();
    },
  }, { highWaterMark: 0 });
}
