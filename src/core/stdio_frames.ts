/**
 * Several streams over one: each frame is one byte that says which, the payload's length as 32 bits big endian, and the
 * payload. The last frame of a run is its `result`, a JSON object; a stream that ends without one broke off.
 */
import { Failure } from "./errors.ts";

/** The media type of such a stream. */
export const frameType = "application/vnd.mayfly.stdio";

const channels = { stdout: 1, stderr: 2, result: 3 } as const;
/** What a frame can hold. */
export type Channel = keyof typeof channels;

const names = new Map<number, Channel>(Object.entries(channels).map(([name, value]) => [value, name as Channel]));
const headBytes = 5;
const maxPayloadBytes = 16 * 1024 * 1024;

/** Puts a frame's head before its payload. */
export function encodeFrame(channel: Channel, payload: Uint8Array): Uint8Array<ArrayBuffer> {
  const frame = new Uint8Array(headBytes + payload.length);
  frame[0] = channels[channel];
  new DataView(frame.buffer).setUint32(1, payload.length);
  frame.set(payload, headBytes);
  return frame;
}

/** Splits a stream into its frames. @throws data_loss when it ends inside a frame or holds something else. */
export async function* decodeFrames(
  stream: ReadableStream<Uint8Array>,
): AsyncGenerator<{ readonly channel: Channel; readonly payload: Uint8Array }> {
  let rest: Uint8Array = new Uint8Array(0);
  for await (const chunk of stream) {
    rest = rest.length === 0 ? chunk : concatenate(rest, chunk);
    while (rest.length >= headBytes) {
      const channel = names.get(rest[0] ?? 0);
      const length = new DataView(rest.buffer, rest.byteOffset).getUint32(1);
      if (channel === undefined || length > maxPayloadBytes) {
        throw new Failure("data_loss", "cannot read a frame of the stream: it is of no known form");
      }
      if (rest.length < headBytes + length) break;
      yield { channel, payload: rest.subarray(headBytes, headBytes + length) };
      rest = rest.subarray(headBytes + length);
    }
  }
  if (rest.length > 0) throw new Failure("data_loss", "cannot read a frame of the stream: it broke off");
}

function concatenate(left: Uint8Array, right: Uint8Array): Uint8Array {
  const both = new Uint8Array(left.length + right.length);
  both.set(left);
  both.set(right, left.length);
  return both;
}
