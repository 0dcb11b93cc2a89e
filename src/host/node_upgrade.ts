import { getRequestListener } from "@hono/node-server";
import { RESPONSE_ALREADY_SENT } from "@hono/node-server/utils/response";
import { type IncomingMessage, type Server, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { WebSocketServer } from "ws";
import type { FetchHandler } from "../core/host.ts";
import { maxMessageBytes } from "../core/web_socket.ts";
import { goingAway } from "./http_failures.ts";
import { inOriginForm } from "./origin_form.ts";
import { peerOf } from "./peer_address.ts";
import { brokenHandshake, hand, UpgradeOnce } from "./upgrade_once.ts";
import { wsConnection } from "./ws_connection.ts";

/**
 * Serves the requests for WebSockets of a `node:http` server, which gives such a request together with its bare socket.
 * @param send sends an answer that refuses.
 * @returns closes what is open.
 */
export function serveWebSockets(
  server: Server,
  answer: FetchHandler,
  send: (response: Response, outgoing: ServerResponse) => Promise<void>,
): (force: boolean) => void {
  /** What handlers have agreed on. */
  const protocols = new WeakMap<object, string>();
  const sockets = new WebSocketServer({
    noServer: true,
    perMessageDeflate: false,
    maxPayload: maxMessageBytes,
    handleProtocols: (_offered, request) => protocols.get(request) ?? false,
  });
  const heads = new WeakMap<object, Buffer>();
  /** Whose handler has not answered; the server knows nothing of them any more. */
  const pending = new Set<Socket>();
  const listener = inOriginForm(getRequestListener(async (request, { incoming, outgoing }) => {
    await upgrade(request, incoming as IncomingMessage, outgoing as ServerResponse);
    return RESPONSE_ALREADY_SENT;
  }, { overrideGlobalObjects: false }));

  const upgrade = async (request: Request, incoming: IncomingMessage, outgoing: ServerResponse) => {
    const once = new UpgradeOnce();
    const { socket } = incoming;
    const response = brokenHandshake(request.headers) ??
      await answer(request, { peer: () => peerOf(socket), upgrade: once.upgrade });
    pending.delete(socket);
    const accepted = once.acceptedBy(response);
    if (accepted === undefined) return await send(response, outgoing);
    const { accept, options: { text, protocol } } = accepted;
    if (outgoing.destroyed) return;
    outgoing.detachSocket(socket);
    if (protocol !== undefined) protocols.set(incoming, protocol);
    sockets.handleUpgrade(incoming, socket, heads.get(incoming) ?? Buffer.alloc(0), (opened) => {
      hand(wsConnection(opened, { keepAlive: true, text }), accept);
    });
  };

  server.on("upgrade", (incoming: IncomingMessage, _socket: unknown, head: Buffer) => {
    const { socket } = incoming;
    heads.set(incoming, head);
    pending.add(socket);
    const outgoing = new ServerResponse(incoming);
    outgoing.shouldKeepAlive = false;
    outgoing.assignSocket(socket);
    outgoing.on("finish", () => endSoon(socket));
    // Its end is all that matters, and that is told to the answer too.
    socket.on("error", () => {});
    listener(incoming, outgoing);
  });
  return (force) => {
    if (force) { for (const socket of pending) socket.destroy(); }
    for (const socket of sockets.clients) {
      if (force) socket.terminate();
      else socket.close(1001, goingAway);
    }
  };
}

/** How long a peer that was refused may take to read why, and to go. */
const lingerMs = 2_000;

/**
 * Ends a connection so that its peer can read the answer: what still comes from it is dropped. Nobody else reads the socket
 * any more: a peer that goes on sending, or is gone, would never be noticed.
 */
function endSoon(socket: Socket): void {
  const timer = setTimeout(() => socket.destroy(), lingerMs);
  socket.once("close", () => clearTimeout(timer));
  socket.resume();
  socket.end();
}
