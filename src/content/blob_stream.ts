import type { FileHandle } from "node:fs/promises";
import { Failure } from "../core/errors.ts";
import { diskFailure } from "./disk_failure.ts";

/** One read of the disk: large enough that the thread hop does not show, small enough to keep many streams in memory. */
const chunkBytes = 512 * 1024;

/**
 * Streams a part of an open file, and closes it at the end, on error and on cancel. Nothing is read ahead of the consumer.
 * @param name the blob's name in errors.
 */
export function blobStream(
  file: FileHandle,
  name: string,
  start: number,
  end: number,
): ReadableStream<Uint8Array<ArrayBuffer>> {
  let position = start;
  return new ReadableStream({
    async pull(controller) {
      try {
        if (position < end) {
          const buffer = new Uint8Array(Math.min(chunkBytes, end - position));
          const { bytesRead } = await file.read(buffer, 0, buffer.length, position);
          if (bytesRead === 0) {
            throw new Failure("data_loss", `cannot read blob ${name}: it ends at byte ${position}, wanted ${end}`);
          }
          position += bytesRead;
          controller.enqueue(bytesRead === buffer.length ? buffer : buffer.subarray(0, bytesRead));
        }
        if (position >= end) {
          await file.close();
          controller.close();
        }
      } catch (error) {
        await file.close().catch(() => {});
        throw diskFailure(`cannot read blob ${name}`, error);
      }
    },
    cancel: () => file.close(),
  }, { highWaterMark: 0 });
}
