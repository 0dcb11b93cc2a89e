/** Of each byte, as zlib and Ethernet have it. */
const table = Uint32Array.from({ length: 256 }, (_, byte) => {
  let rest = byte;
  for (let bit = 0; bit < 8; bit++) rest = rest & 1 ? (rest >>> 1) ^ 0xedb8_8320 : rest >>> 1;
  return rest;
});

function crc32(bytes: Uint8Array): number {
  let crc = 0xffff_ffff;
  for (const byte of bytes) crc = (table[(crc ^ byte) & 0xff] as number) ^ (crc >>> 8);
  return (crc ^ 0xffff_ffff) >>> 0;
}

const encoder = new TextEncoder();
/** What says in front of a value that it is text. */
const textType = 7;

/**
 * Writes one event as AWS's streams have them: a frame with its lengths, headers and checksums.
 * @see https://smithy.io/2.0/aws/amazon-eventstream.html
 */
export function eventFrame(type: string, contentType: string, payload: Uint8Array): Uint8Array<ArrayBuffer> {
  const fields = { ":message-type": "event", ":event-type": type, ":content-type": contentType };
  const headers = Object.entries(fields).flatMap(([name, value]) => {
    const [key, text] = [encoder.encode(name), encoder.encode(value)];
    return [key.length, ...key, textType, text.length >> 8, text.length & 0xff, ...text];
  });
  const frame = new Uint8Array(16 + headers.length + payload.length);
  const view = new DataView(frame.buffer);
  view.setUint32(0, frame.length);
  view.setUint32(4, headers.length);
  view.setUint32(8, crc32(frame.subarray(0, 8)));
  frame.set(headers, 12);
  frame.set(payload, 12 + headers.length);
  view.setUint32(frame.length - 4, crc32(frame.subarray(0, -4)));
  return frame;
}
