import type { Server } from "node:http";
import type { Socket } from "node:net";

/**
 * Cuts connections that stay without a request: Deno's `node:http` has no limit of its own, and Node's looks twice a minute
 * only. One clock looks at all connections, so that a request costs two assignments.
 */
export function limitHeads(server: Server, limitMs: number): void {
  const connections = new Map<Socket, { requests: number; sinceMs: number }>();
  const begin = (socket: Socket) => {
    connections.set(socket, { requests: 0, sinceMs: performance.now() });
    socket.once("close", () => connections.delete(socket));
  };
  server.on("connection", begin);
  // Requests name the socket that decrypts, once its handshake is done; the one beneath is known by its other end.
  server.on("secureConnection", (socket: Socket) => {
    for (const below of connections.keys()) {
      if (below.remotePort === socket.remotePort && below.remoteAddress === socket.remoteAddress) {
        connections.delete(below);
      }
    }
    begin(socket);
  });
  server.on("request", ({ socket }, response) => {
    const connection = connections.get(socket);
    if (connection === undefined) return;
    connection.requests++;
    response.once("close", () => {
      connection.requests--;
      connection.sinceMs = performance.now();
    });
  });
  // A WebSocket may be silent.
  server.on("upgrade", ({ socket }) => connections.delete(socket));
  const clock = setInterval(() => {
    const now = performance.now();
    for (const [socket, { requests, sinceMs }] of connections) {
      if (requests === 0 && now - sinceMs > limitMs) socket.destroy();
    }
  }, limitMs / 2);
  server.once("close", () => clearInterval(clock));
}
