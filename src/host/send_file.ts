import { type FileHandle, open } from "node:fs/promises";
import type { ServerResponse } from "node:http";
import type { FilePart } from "../core/file_part.ts";

/** Two of them are in use at once: one is filled while the kernel takes the other. Smaller ones cost more turns than bytes. */
const bufferBytes = 1 << 19;

/** Opens a file to be sent; undefined where it has been removed, which the stream of it outlives, or cannot be opened. */
export async function openPart({ path }: FilePart): Promise<FileHandle | undefined> {
  return await open(path, "r").catch(() => undefined);
}

/**
 * Sends a part of a file as a response's body, twice as fast as by a stream, and closes the file.
 * @throws where the file cannot be read, or is shorter.
 */
export async function sendPart(file: FileHandle, { start, end }: FilePart, outgoing: ServerResponse): Promise<void> {
  const size = Math.min(bufferBytes, end - start);
  const free = [new Uint8Array(size), ...(end - start > size ? [new Uint8Array(size)] : [])];
  let wake = () => {};
  outgoing.once("close", () => wake());
  try {
    for (let position = start; position < end && !outgoing.destroyed;) {
      const buffer = free.pop();
      if (buffer === undefined) {
        await new Promise<void>((resolve) => wake = resolve);
        continue;
      }
      const { bytesRead } = await file.read(buffer, 0, Math.min(size, end - position), position);
      if (bytesRead === 0) throw new Error(`it ends at byte ${position}, wanted ${end}`);
      position += bytesRead;
      outgoing.write(buffer.subarray(0, bytesRead), () => {
        free.push(buffer);
        wake();
      });
    }
    if (!outgoing.destroyed) outgoing.end();
  } finally {
    await file.close();
  }
}
