/** One message to the kernel, or from it, without the header that carries it. */
export interface NetlinkMessage {
  readonly type: number;
  /** `NLM_F_*`. */
  readonly flags: number;
  /** The family's own header, and the attributes behind it. */
  readonly body: Uint8Array<ArrayBuffer>;
}

/** `struct nlmsghdr` and `struct nlattr`, in bytes. */
export const headerBytes = 16;
const attributeBytes = 4;

/** @see https://docs.kernel.org/userspace-api/netlink/intro.html */
export const NLM_F_REQUEST = 1;
export const NLM_F_ACK = 4;
export const NLM_F_EXCL = 0x200;
export const NLM_F_CREATE = 0x400;
export const NLM_F_APPEND = 0x800;
export const NLM_F_DUMP = 0x300;
export const NLMSG_ERROR = 2;
export const NLMSG_DONE = 3;
const NLA_F_NESTED = 0x8000;

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Bytes behind each other. */
export function joined(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** 32 bits in the processor's order, as the kernel has them. */
export function u32(value: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, true);
  return bytes;
}

/** 32 bits in the network's order. */
export function be32(value: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value);
  return bytes;
}

/** 16 bits in the network's order. */
export function be16(value: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array([value >> 8 & 0xff, value & 0xff]);
}

export function u8(value: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array([value]);
}

/** A string with the NUL that ends it. */
export function text(value: string): Uint8Array<ArrayBuffer> {
  return encoder.encode(`${value}\0`);
}

/** One attribute: its length, its type, its bytes, and what fills them up to a multiple of four. */
export function attribute(type: number, value: Uint8Array): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(aligned(attributeBytes + value.length));
  const view = new DataView(bytes.buffer);
  view.setUint16(0, attributeBytes + value.length, true);
  view.setUint16(2, type, true);
  bytes.set(value, attributeBytes);
  return bytes;
}

/** An attribute that holds others. */
export function nested(type: number, attributes: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  return attribute(type | NLA_F_NESTED, joined(attributes));
}

/** The attributes in a part of a message, by their types: of several of one type the last. */
export function attributesOf(bytes: Uint8Array<ArrayBuffer>): ReadonlyMap<number, Uint8Array<ArrayBuffer>> {
  const found = new Map<number, Uint8Array<ArrayBuffer>>();
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let at = 0; at + attributeBytes <= bytes.length;) {
    const length = view.getUint16(at, true);
    if (length < attributeBytes || at + length > bytes.length) break;
    found.set(view.getUint16(at + 2, true) & 0x3fff, bytes.subarray(at + attributeBytes, at + length));
    at += aligned(length);
  }
  return found;
}

export function textOf(bytes: Uint8Array | undefined): string {
  return bytes === undefined ? "" : decoder.decode(bytes).replace(/\0.*$/s, "");
}

export function u32Of(bytes: Uint8Array | undefined): number | undefined {
  return bytes === undefined || bytes.length < 4
    ? undefined
    : new DataView(bytes.buffer, bytes.byteOffset, 4).getUint32(0, true);
}

/** Lays a message out. @param sequence by which its answer is known. */
export function encodeMessage({ type, flags, body }: NetlinkMessage, sequence: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(aligned(headerBytes + body.length));
  const view = new DataView(bytes.buffer);
  view.setUint32(0, headerBytes + body.length, true);
  view.setUint16(4, type, true);
  view.setUint16(6, flags, true);
  view.setUint32(8, sequence, true);
  bytes.set(body, headerBytes);
  return bytes;
}

/** Reads the messages of one datagram. Their bodies are copies. */
export function decodeMessages(
  bytes: Uint8Array<ArrayBuffer>,
): readonly (NetlinkMessage & { readonly sequence: number })[] {
  const found = [];
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let at = 0; at + headerBytes <= bytes.length;) {
    const length = view.getUint32(at, true);
    if (length < headerBytes || at + length > bytes.length) break;
    found.push({
      type: view.getUint16(at + 4, true),
      flags: view.getUint16(at + 6, true),
      sequence: view.getUint32(at + 8, true),
      body: bytes.slice(at + headerBytes, at + length),
    });
    at += aligned(length);
  }
  return found;
}

function aligned(length: number): number {
  return (length + 3) & ~3;
}
