import { Socket } from "node:net";
import { Readable, Writable } from "node:stream";
import type { Libc } from "./address_space.ts";

export function socketReadable(_c: Libc, fd: number): ReadableStream<Uint8Array<ArrayBuffer>> {
  return Readable.toWeb(new Socket({ fd, readable: true, writable: false })) as unknown as ReadableStream<
    Uint8Array<ArrayBuffer>
  >;
}

export function socketWritable(_c: Libc, fd: number): WritableStream<Uint8Array> {
  return Writable.toWeb(new Socket({ fd, readable: false, writable: true })) as WritableStream<Uint8Array>;
}
