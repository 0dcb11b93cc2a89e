import { GrowingBytes } from "../core/growing_bytes.ts";
import type { FunctionSettings } from "../core/function.ts";
import { Pace } from "../core/pace.ts";
import { bodyTooLarge, bodyTooSlow } from "./failures.ts";

/** Reads a request's whole body. @throws as its function's limits are passed. */
export async function readBody(
  body: ReadableStream<Uint8Array>,
  limit: number,
  { bodyTimeoutMs }: Pick<FunctionSettings, "bodyTimeoutMs">,
): Promise<Uint8Array<ArrayBuffer>> {
  const reader = body.getReader();
  const pace = new Pace(bodyTimeoutMs);
  const all = new GrowingBytes();
  let late = false;
  for (;;) {
    const part = await pace.wait(reader.read(), () => {
      late = true;
      reader.cancel().catch(() => {});
    });
    if (late) throw bodyTooSlow(bodyTimeoutMs, pace.bytes);
    if (part.done) return all.bytes().slice();
    pace.bytes += part.value.length;
    if (pace.bytes > limit) {
      reader.cancel().catch(() => {});
      throw bodyTooLarge(limit);
    }
    all.push(part.value);
  }
}

/** Reads a whole answer. @returns undefined where there is more than the limit: it is cancelled then. */
export async function collect(
  body: ReadableStream<Uint8Array> | null,
  limit: number,
): Promise<Uint8Array<ArrayBuffer> | undefined> {
  const all = new GrowingBytes();
  for await (const chunk of body ?? []) {
    if (all.length + chunk.length > limit) return undefined;
    all.push(chunk);
  }
  return all.bytes().slice();
}
