import { Socket } from "node:net";
import type { DescriptorReader, DescriptorWriter } from "./descriptor_streams.ts";

/** Reads a descriptor through `node:net`, which flows only while somebody waits. */
export function socketReader(fd: number): DescriptorReader {
  const socket = new Socket({ fd, readable: true, writable: false });
  const closed = new Promise<void>((resolve) => socket.once("close", () => resolve()));
  let failure: unknown;
  let ended = false;
  let waiting: PromiseWithResolvers<Uint8Array<ArrayBuffer> | undefined> | undefined;
  socket.on("data", (chunk: Uint8Array<ArrayBuffer>) => {
    socket.pause();
    waiting?.resolve(chunk);
    waiting = undefined;
  });
  socket.once("error", (error) => failure = error);
  socket.once("end", () => {
    ended = true;
    socket.destroy();
  });
  socket.on("close", () => {
    if (ended) waiting?.resolve(undefined);
    else waiting?.reject(failure ?? new Error(`descriptor ${fd} was closed while it was read`));
  });
  return {
    read() {
      waiting = Promise.withResolvers();
      if (socket.closed) socket.emit("close");
      else socket.resume();
      return waiting.promise;
    },
    cancel() {
      socket.destroy();
      return closed;
    },
  };
}

/** Writes a descriptor through `node:net`. */
export function socketWriter(fd: number): DescriptorWriter {
  const socket = new Socket({ fd, readable: false, writable: true });
  const closed = new Promise<void>((resolve) => socket.once("close", () => resolve()));
  // The failing write rejects with it; without a listener it would end the process.
  socket.on("error", () => {});
  const destroy = () => {
    socket.destroy();
    return closed;
  };
  return {
    write: (chunk) =>
      new Promise((resolve, reject) => socket.write(chunk, (error) => error ? reject(error) : resolve())),
    close: destroy,
    abort: destroy,
  };
}
