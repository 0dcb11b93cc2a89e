/*
 * How a container's output stands in its log: records, each with a head of 13 bytes (the stream, the time as milliseconds
 * since 1970 in a float64, the payload's length as 32 bits, all big endian) and the bytes as they came. Lines are a reader's
 * affair, so that none is too long.
 */

/** `lost` is output that could not be written; its payload is how many bytes that was, as text. */
export type LogChannel = "stdout" | "stderr" | "lost";

export interface LogRecord {
  readonly channel: LogChannel;
  /** Milliseconds since 1970. */
  readonly timeMs: number;
  readonly payload: Uint8Array;
}

const codes = { stdout: 1, stderr: 2, lost: 3 } as const satisfies Record<LogChannel, number>;
const channels = new Map<number, LogChannel>(
  Object.entries(codes).map(([channel, code]) => [code, channel as LogChannel]),
);

export const headBytes = 13;
/** A longer chunk becomes several records. */
export const maxPayloadBytes = 64 * 1024;

/** The records of a chunk, as bytes. */
export function encodeRecords(channel: LogChannel, timeMs: number, chunk: Uint8Array): readonly Uint8Array[] {
  const records: Uint8Array[] = [];
  for (let begin = 0; begin < chunk.length; begin += maxPayloadBytes) {
    const payload = chunk.subarray(begin, begin + maxPayloadBytes);
    const record = new Uint8Array(headBytes + payload.length);
    const head = new DataView(record.buffer);
    head.setUint8(0, codes[channel]);
    head.setFloat64(1, timeMs);
    head.setUint32(9, payload.length);
    record.set(payload, headBytes);
    records.push(record);
  }
  return records;
}

/**
 * The record that begins at an offset.
 * @returns undefined where the bytes end before it does; "damaged" for what is no record.
 */
export function decodeRecord(
  bytes: Uint8Array,
  offset: number,
): { readonly record: LogRecord; readonly end: number } | "damaged" | undefined {
  if (bytes.length - offset < headBytes) return undefined;
  const head = new DataView(bytes.buffer, bytes.byteOffset + offset, headBytes);
  const channel = channels.get(head.getUint8(0));
  const length = head.getUint32(9);
  if (channel === undefined || length > maxPayloadBytes) return "damaged";
  const end = offset + headBytes + length;
  if (end > bytes.length) return undefined;
  return { record: { channel, timeMs: head.getFloat64(1), payload: bytes.subarray(offset + headBytes, end) }, end };
}
