import { readFileSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import type { ContainerLog } from "./container_log.ts";
import { decodeRecord, headBytes, type LogChannel, type LogRecord, maxPayloadBytes } from "./log_records.ts";
import { segmentPath, segmentsOf } from "./log_segments.ts";

export interface ReadLogOptions {
  /** The streams that are wanted. Default both. */
  readonly channels?: readonly LogChannel[];
  /** Milliseconds since 1970: nothing that came before. */
  readonly sinceMs?: number | undefined;
  /** Milliseconds since 1970: nothing that came after. */
  readonly untilMs?: number | undefined;
  /** The last lines only; a line that is not finished is one, too. Default all. */
  readonly tail?: number | undefined;
  /** Goes on with what is written here, until it is closed. */
  readonly follow?: ContainerLog | undefined;
  /** Ends the following. */
  readonly signal?: AbortSignal | undefined;
}

/** Where a reader stands: in a segment at an offset, and so many bytes into that record's payload. */
interface Position {
  readonly segment: number;
  readonly offset: number;
  readonly skip: number;
}

const blockBytes = 256 * 1024;
const allChannels: readonly LogChannel[] = ["stdout", "stderr", "lost"];

/** Reads a log from its folder, in the order in which the output came. What is removed while it is read is left out. */
export async function* readLog(folder: string, options: ReadLogOptions = {}): AsyncGenerator<LogRecord> {
  const { channels = allChannels, sinceMs = -Infinity, untilMs = Infinity, tail } = options;
  const wanted = (record: LogRecord) =>
    (channels.includes(record.channel) || record.channel === "lost") && record.timeMs >= sinceMs;
  const begin = tail === undefined ? undefined : tailPosition(folder, tail, wanted);
  for await (const record of readFrom(folder, begin, options)) {
    if (record.timeMs > untilMs) return;
    if (wanted(record)) yield record;
  }
}

async function* readFrom(
  folder: string,
  begin: Position | undefined,
  { follow, signal }: ReadLogOptions,
): AsyncGenerator<LogRecord> {
  let at = begin ?? first(folder, 0);
  while (at === undefined) {
    const changed = follow?.changed;
    const ended = follow?.closed !== false;
    at = first(folder, 0);
    if (at === undefined && (ended || !await settled(changed, signal))) return;
  }
  for (let position: Position | undefined = at; position !== undefined;) {
    const { segment }: Position = position;
    let { offset, skip }: Position = position;
    position = first(folder, segment + 1);
    const file = await openSegment(folder, segment);
    if (file === undefined) continue;
    try {
      for (;;) {
        // Asked before reading: what is written from then on is told.
        const changed = follow?.changed;
        const ended = follow?.closed !== false;
        position = first(folder, segment + 1);
        for (let records = await readRecords(file, offset); records.length > 0;) {
          for (const { record, end } of records) {
            yield skip === 0 ? record : { ...record, payload: record.payload.subarray(skip) };
            skip = 0;
            offset = end;
          }
          records = await readRecords(file, offset);
        }
        // Where the next one was there before the last read, nothing more comes to this one.
        if (position !== undefined) break;
        if (ended || !await settled(changed, signal)) return;
      }
    } finally {
      await file.close();
    }
  }
}

function first(folder: string, from: number): Position | undefined {
  const segment = segmentsOf(folder).find((number) => number >= from);
  return segment === undefined ? undefined : { segment, offset: 0, skip: 0 };
}

/** @returns false when the signal came first. */
async function settled(changed: Promise<void> | undefined, signal: AbortSignal | undefined): Promise<boolean> {
  if (signal === undefined) {
    await changed;
    return true;
  }
  const aborted = Promise.withResolvers<void>();
  const onAbort = () => aborted.resolve();
  signal.addEventListener("abort", onAbort);
  try {
    if (!signal.aborted) await Promise.race([changed, aborted.promise]);
    return !signal.aborted;
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

async function openSegment(folder: string, segment: number): Promise<FileHandle | undefined> {
  try {
    return await open(segmentPath(folder, segment), "r");
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
    throw error;
  }
}

async function readRecords(file: FileHandle, offset: number) {
  const bytes = new Uint8Array(Math.max(blockBytes, headBytes + maxPayloadBytes));
  const { bytesRead } = await file.read(bytes, 0, bytes.length, offset);
  return recordsOf(bytes.subarray(0, bytesRead), offset);
}

/** The whole records of some bytes. @param base where in the segment the bytes begin. */
function recordsOf(bytes: Uint8Array, base: number) {
  const records: { readonly record: LogRecord; readonly begin: number; readonly end: number }[] = [];
  for (let at = 0;;) {
    const decoded = decodeRecord(bytes, at);
    if (decoded === undefined || decoded === "damaged") return records;
    records.push({ record: decoded.record, begin: base + at, end: base + decoded.end });
    at = decoded.end;
  }
}

const newline = 10;

/** Where the last lines begin; undefined for all of it. */
function tailPosition(folder: string, lines: number, wanted: (record: LogRecord) => boolean): Position | undefined {
  let left = lines;
  const seen = new Set<LogChannel>();
  for (const segment of segmentsOf(folder).toReversed()) {
    const records = recordsOf(readWhole(segmentPath(folder, segment)), 0).toReversed();
    for (const { record, begin, end } of records) {
      if (!wanted(record)) continue;
      if (left === 0) return { segment, offset: end, skip: 0 };
      const { channel, payload } = record;
      for (let at = payload.lastIndexOf(newline); at >= 0; at = at === 0 ? -1 : payload.lastIndexOf(newline, at - 1)) {
        // The newline that ends the output begins no line.
        if (at === payload.length - 1 && !seen.has(channel)) {
          seen.add(channel);
          continue;
        }
        seen.add(channel);
        if (--left === 0) return { segment, offset: begin, skip: at + 1 };
      }
      if (payload.length > 0) seen.add(channel);
    }
  }
  return undefined;
}

function readWhole(path: string): Uint8Array {
  try {
    return readFileSync(path);
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return new Uint8Array(0);
    throw error;
  }
}
