import type { Digest } from "../core/digest.ts";

/** One step of a pull, unpack or push, of one layer (or manifest). */
export interface Progress {
  readonly digest: Digest;
  readonly phase: "download" | "unpack" | "upload" | "mounted" | "done" | "exists";
  /** Bytes of the blob so far. */
  readonly bytes: number;
  readonly total: number;
}

export type OnProgress = (progress: Progress) => void;

/** How often a layer's progress is told at most, in milliseconds. */
const everyMs = 50;

/** Passes a stream on and tells how far it is. @param start bytes that were there before. */
export async function* counted(
  source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  step: Omit<Progress, "bytes">,
  onProgress: OnProgress | undefined,
  start = 0,
): AsyncGenerator<Uint8Array> {
  let bytes = start;
  let told = 0;
  for await (const chunk of source) {
    bytes += chunk.length;
    const now = performance.now();
    if (now - told >= everyMs) {
      told = now;
      onProgress?.({ ...step, bytes });
    }
    yield chunk;
  }
}

/** Events are kept, and told to everybody: a layer has one when its phase changes, and in between so often at most. */
const eventEveryMs = 500;

/** Passes on what is worth an event. */
export function sparsely(onProgress: OnProgress): OnProgress {
  const told = new Map<Digest, { readonly phase: Progress["phase"]; readonly at: number }>();
  return (progress) => {
    const { digest, phase } = progress;
    const last = told.get(digest);
    const at = performance.now();
    if (last?.phase === phase && at - last.at < eventEveryMs) return;
    told.set(digest, { phase, at });
    onProgress(progress);
  };
}
