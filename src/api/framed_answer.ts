import { encodeFrame, frameType } from "../core/stdio_frames.ts";
import type { Process } from "../core/task.ts";
import { problemOf } from "./errors.ts";

/** What carries a process's streams between a request and its answer. */
export interface FramedAnswer {
  /** Aborts when the client goes away: the process has nobody to run for. */
  readonly signal: AbortSignal;
  /** Carries the request's body to stdin, and output to frames. @returns what resolves at the end of the output. */
  carry(streams: Pick<Process, "stdin" | "stdout" | "stderr">): Promise<void>;
  /** The answer, whose last frame tells how it went. @param result resolves at the end. */
  answer(result: Promise<unknown>): Response;
}

/** Answers a request with frames. @see ../core/stdio_frames.ts */
export function framedAnswer({ body, signal }: Request): FramedAnswer {
  const { readable, writable } = new TransformStream<Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>>();
  const writer = writable.getWriter();
  const gone = new AbortController();
  writer.closed.catch(() => gone.abort());
  return {
    signal: AbortSignal.any([signal, gone.signal]),
    async carry({ stdin, stdout, stderr }) {
      // A container may end without having read all of its input.
      if (body !== null && stdin !== undefined) body.pipeTo(stdin).catch(() => {});
      const all = async (channel: "stdout" | "stderr", stream: ReadableStream<Uint8Array> | undefined) => {
        for await (const chunk of stream ?? []) await writer.write(encodeFrame(channel, chunk));
      };
      await Promise.all([all("stdout", stdout), all("stderr", stderr)]);
    },
    answer(result) {
      result.then((exit) => ({ exit }), (error) => ({ error: problemOf(error) }))
        .then((last) => writer.write(encodeFrame("result", new TextEncoder().encode(JSON.stringify(last)))))
        .then(() => writer.close())
        .catch((error) => writer.abort(error));
      return new Response(readable, { headers: { "content-type": frameType } });
    },
  };
}
