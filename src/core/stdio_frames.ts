/**
 * Several streams over one: each frame is one byte that says which, the payload's length as 32 bits big endian, and the
 * payload. The last frame of a run is its `result`, a JSON object; a stream that ends without one broke off.
 */
import { Failure } from "./errors.ts";

/** The media type of such a stream. */
export const frameType = "application/vnd.mayfly.stdio";

const outputs = { stdout: 1, stderr: 2, result: 3 } as const;
const inputs = { stdin: 4, stdinEnd: 5, resize: 6, process: 7 } as const;
/** What comes from a process; with a terminal there is no `stderr`. */
export type OutputChannel = keyof typeof outputs;
/**
 * What goes to one, over a WebSocket: `stdin`; `stdinEnd` without a payload; `resize`, JSON as `{"width":80,"height":24}`;
 * `process`, the JSON of what is to be run.
 */
export type InputChannel = keyof typeof inputs;
export type Channel = OutputChannel | InputChannel;

const channels = { ...outputs, ...inputs };
const outputNames = namesOf(outputs);
const names = namesOf(channels);
const headBytes = 5;
const maxPayloadBytes = 16 * 1024 * 1024;

/** Puts a frame's head before its payload. */
export function encodeFrame(channel: OutputChannel, payload: Uint8Array): Uint8Array<ArrayBuffer> {
  const frame = new Uint8Array(headBytes + payload.length);
  frame[0] = outputs[channel];
  new DataView(frame.buffer).setUint32(1, payload.length);
  frame.set(payload, headBytes);
  return frame;
}

/** One frame of a WebSocket: its message is the byte that says which, and the payload. */
export function encodeMessage(channel: Channel, payload: Uint8Array = new Uint8Array(0)): Uint8Array<ArrayBuffer> {
  const message = new Uint8Array(1 + payload.length);
  message[0] = channels[channel];
  message.set(payload, 1);
  return message;
}

/** Takes a message apart. @throws invalid_argument when it is of no known form. */
export function decodeMessage(message: Uint8Array): { readonly channel: Channel; readonly payload: Uint8Array } {
  const channel = names.get(message[0] ?? 0);
  if (channel !== undefined) return { channel, payload: message.subarray(1) };
  throw new Failure("invalid_argument", "cannot read a message of the WebSocket: it is of no known form");
}

/** Splits a stream into its frames. @throws data_loss when it ends inside a frame or holds something else. */
export async function* decodeFrames(
  stream: ReadableStream<Uint8Array>,
): AsyncGenerator<{ readonly channel: OutputChannel; readonly payload: Uint8Array }> {
  let rest: Uint8Array = new Uint8Array(0);
  for await (const chunk of stream) {
    rest = rest.length === 0 ? chunk : concatenate(rest, chunk);
    while (rest.length >= headBytes) {
      const channel = outputNames.get(rest[0] ?? 0);
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

function namesOf<Name extends string>(numbers: Readonly<Record<Name, number>>): ReadonlyMap<number, Name> {
  return new Map((Object.keys(numbers) as Name[]).map((name) => [numbers[name], name]));
}

function concatenate(left: Uint8Array, right: Uint8Array): Uint8Array {
  const both = new Uint8Array(left.length + right.length);
  both.set(left);
  both.set(right, left.length);
  return both;
}
