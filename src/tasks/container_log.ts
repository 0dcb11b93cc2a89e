import { mkdirSync, rmSync, statSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { encodeRecords, headBytes, type LogChannel } from "./log_records.ts";
import { segmentPath, segmentsOf, wholeLength } from "./log_segments.ts";

/** So many segments the limit is spread over, so that at most this part of it is removed at once. */
const segmentsPerLog = 4;
/** A reader takes whole segments into memory. */
const maxSegmentBytes = 16 * 1024 * 1024;
/** As much waits for the disk before the container has to. */
const waitingBytes = 4 * 1024 * 1024;

export interface ContainerLogOptions {
  readonly folder: string;
  /** The limit of all segments together. */
  readonly maxBytes: number;
  /** Told once when writing begins to fail. */
  readonly onTrouble: (error: unknown) => void;
}

/**
 * Writes a container's output into a size-limited log. A container that writes faster than the disk is slowed by it as by any
 * file; a disk that refuses loses output instead, and the log says how much when it works again.
 */
export class ContainerLog {
  readonly #options: ContainerLogOptions;
  readonly #segmentBytes: number;
  /** Numbers and sizes of the segments, the one that is written last. */
  readonly #segments: { readonly number: number; bytes: number }[];
  #file: FileHandle | undefined;
  #waiting: Uint8Array[] = [];
  #waitingBytes = 0;
  #writing: Promise<void> | undefined;
  #lostBytes = 0;
  #failing = false;
  #closed = false;
  #change = Promise.withResolvers<void>();

  /** Opens a log, or goes on with one: what an earlier daemon had not written out is cut off. */
  constructor(options: ContainerLogOptions) {
    this.#options = options;
    this.#segmentBytes = Math.min(maxSegmentBytes, Math.ceil(options.maxBytes / segmentsPerLog));
    const { folder } = options;
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const numbers = segmentsOf(folder);
    this.#segments = numbers.map((number, index) => ({
      number,
      bytes: index < numbers.length - 1 ? statSync(segmentPath(folder, number)).size : wholeLength(folder, number),
    }));
  }

  /** Whether nothing more will come. */
  get closed(): boolean {
    return this.#closed;
  }

  /** Resolves when something was written, or the log was closed. */
  get changed(): Promise<void> {
    return this.#change.promise;
  }

  /** Takes output of now. Resolves when there is room for more; never rejects. */
  async append(channel: LogChannel, chunk: Uint8Array): Promise<void> {
    for (const record of encodeRecords(channel, Date.now(), chunk)) {
      this.#waiting.push(record);
      this.#waitingBytes += record.length;
    }
    this.#writing ??= this.#drain();
    while (this.#waitingBytes > waitingBytes && this.#writing !== undefined) await this.#writing;
  }

  /** Writes what waits, and ends the log. */
  async close(): Promise<void> {
    while (this.#writing !== undefined) await this.#writing;
    if (this.#lostBytes > 0) await this.#write([]);
    this.#closed = true;
    await this.#file?.close();
    this.#file = undefined;
    this.#change.resolve();
  }

  async #drain(): Promise<void> {
    while (this.#waiting.length > 0) {
      const records = this.#waiting;
      this.#waiting = [];
      this.#waitingBytes = 0;
      await this.#write(records);
    }
    this.#writing = undefined;
  }

  async #write(records: readonly Uint8Array[]): Promise<void> {
    const lost = this.#lostBytes === 0
      ? []
      : encodeRecords("lost", Date.now(), new TextEncoder().encode(String(this.#lostBytes)));
    const all = [...lost, ...records];
    let next = 0;
    try {
      while (next < all.length) {
        const segment = await this.#room((all[next] as Uint8Array).length);
        const batch: Uint8Array[] = [];
        let bytes = 0;
        for (let i = next; i < all.length; i++) {
          const record = all[i] as Uint8Array;
          if (batch.length > 0 && segment.bytes + bytes + record.length > this.#segmentBytes) break;
          batch.push(record);
          bytes += record.length;
        }
        await this.#writeAt(segment.bytes, join(batch, bytes));
        segment.bytes += bytes;
        next += batch.length;
        if (next >= lost.length) this.#lostBytes = 0;
      }
      this.#failing = false;
    } catch (error) {
      for (const record of all.slice(Math.max(next, lost.length))) this.#lostBytes += record.length - headBytes;
      if (!this.#failing) this.#options.onTrouble(error);
      this.#failing = true;
    }
    this.#change.resolve();
    this.#change = Promise.withResolvers();
  }

  /** At a position, so that half a record that did not fit is written over by the next. */
  async #writeAt(position: number, bytes: Uint8Array): Promise<void> {
    for (let done = 0; done < bytes.length;) {
      const { bytesWritten } = await this.#file!.write(bytes, done, bytes.length - done, position + done);
      done += bytesWritten;
    }
  }

  /** The segment that the next record goes to, open. */
  async #room(bytes: number): Promise<{ bytes: number }> {
    const { folder, maxBytes } = this.#options;
    let segment = this.#segments.at(-1);
    if (segment === undefined || (segment.bytes > 0 && segment.bytes + bytes > this.#segmentBytes)) {
      const before = this.#file;
      this.#file = undefined;
      await before?.close();
      const number = (segment?.number ?? 0) + 1;
      this.#file = await open(segmentPath(folder, number), "w", 0o600);
      segment = { number, bytes: 0 };
      this.#segments.push(segment);
      let total = this.#segments.reduce((sum, { bytes }) => sum + bytes, 0);
      while (this.#segments.length > 1 && total + this.#segmentBytes > maxBytes) {
        const oldest = this.#segments.shift()!;
        total -= oldest.bytes;
        rmSync(segmentPath(folder, oldest.number), { force: true });
      }
    }
    if (this.#file === undefined) {
      this.#file = await open(segmentPath(folder, segment.number), "r+", 0o600);
      await this.#file.truncate(segment.bytes);
    }
    return segment;
  }
}

function join(parts: readonly Uint8Array[], bytes: number): Uint8Array {
  const [only] = parts;
  if (parts.length === 1 && only !== undefined) return only;
  const all = new Uint8Array(bytes);
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
