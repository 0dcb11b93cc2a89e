import { createServer, type Socket } from "node:net";
import type { Host, TcpConnection } from "../core/host.ts";
import { listenFailure } from "./http_failures.ts";
import { peerOf } from "./peer_address.ts";

/** @see Host.listenTcp */
export const listenTcp: Host["listenTcp"] = async (options, onConnection) => {
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
    onConnection(connectionOf(socket));
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error) => reject(listenFailure(options, error)));
    server.listen(options.port, options.hostname, resolve);
  });
  const address = server.address();
  return {
    port: address !== null && typeof address === "object" ? address.port : undefined,
    close: ({ force = false } = {}) =>
      new Promise((resolve) => {
        server.close(() => resolve());
        if (force) { for (const socket of sockets) socket.destroy(); }
      }),
  };
};

function connectionOf(socket: Socket): TcpConnection {
  let failure: unknown;
  socket.on("error", (error) => failure = error);
  socket.pause();
  const readable = new ReadableStream<Uint8Array<ArrayBuffer>>({
    start(controller) {
      let over = false;
      socket.on("data", (chunk: Uint8Array<ArrayBuffer>) => {
        socket.pause();
        if (!over) controller.enqueue(chunk);
      });
      socket.once("end", () => {
        if (!over) controller.close();
        over = true;
      });
      socket.once("close", () => {
        if (!over) controller.error(failure ?? new Error("the connection was cut"));
        over = true;
      });
    },
    pull: () => void socket.resume(),
    cancel: () => void socket.destroy(),
  }, { highWaterMark: 0 });
  const writable = new WritableStream<Uint8Array>({
    start(controller) {
      socket.once("close", () => controller.error(failure ?? new Error("the connection was cut")));
    },
    write: (chunk) =>
      new Promise((resolve, reject) => socket.write(chunk, (error) => error ? reject(error) : resolve())),
    close: () => new Promise((resolve) => socket.end(() => resolve())),
    abort: () => void socket.destroy(),
  });
  return { readable, writable, peer: () => peerOf(socket), cut: () => void socket.destroy() };
}
