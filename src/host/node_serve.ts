import { getRequestListener } from "@hono/node-server";
import { RESPONSE_ALREADY_SENT } from "@hono/node-server/utils/response";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer as createSecureServer } from "node:https";
import { filePartOf } from "../core/file_part.ts";
import { defaultHeadTimeoutMs, type Host, type TlsIdentity } from "../core/host.ts";
import { limitHeads } from "./head_limit.ts";
import { defaultHostname, guarded, listenFailure } from "./http_failures.ts";
import { inOriginForm } from "./origin_form.ts";
import { openPart, sendPart } from "./send_file.ts";
import { peerOf } from "./peer_address.ts";
import { withRequestBody } from "./request_body.ts";
import { serveWebSockets } from "./node_upgrade.ts";
import { asksForWebSocket } from "./upgrade_once.ts";

/** @see Host.serve */
export const serve: Host["serve"] = async (options, handler) => {
  const answer = guarded(handler);
  // The package makes the `Request`. The response is sent here: the package would end a broken body cleanly, with the
  // error's text, and wait a millisecond for a second chunk.
  const listener = inOriginForm(getRequestListener(async (request, { incoming, outgoing }) => {
    const { socket } = incoming;
    const response = await answer(withRequestBody(request, incoming as IncomingMessage), {
      peer: () => peerOf(socket),
    });
    await send(response, outgoing as ServerResponse);
    return RESPONSE_ALREADY_SENT;
  }, { overrideGlobalObjects: false }));
  // No limit on how long a request takes: its handler has one. Its head has to come, though: see below.
  const headTimeoutMs = options.headTimeoutMs ?? defaultHeadTimeoutMs;
  const { tls } = options;
  const settings = {
    requestTimeout: 0,
    headersTimeout: 0,
    keepAliveTimeout: headTimeoutMs,
    // Other offers to upgrade, as to HTTP/2, are requests like any other.
    shouldUpgradeCallback: ({ method, headers }: IncomingMessage) => asksForWebSocket(method, headers.upgrade),
  };
  const secure = tls && createSecureServer({ ...settings, ...secured(tls), handshakeTimeout: headTimeoutMs }, listener);
  const server = secure ?? createServer(settings, listener);
  const closeWebSockets = serveWebSockets(server, answer, send);
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error) => reject(listenFailure(options, error)));
    if (options.path !== undefined) server.listen(options.path, resolve);
    else server.listen(options.port ?? 0, options.hostname ?? defaultHostname, resolve);
  });
  limitHeads(server, headTimeoutMs);
  const address = server.address();
  return {
    renew: (identity) => secure?.setSecureContext(secured(identity)),
    port: address !== null && typeof address === "object" ? address.port : undefined,
    close: ({ force } = {}) =>
      new Promise((resolve) => {
        server.close(() => resolve());
        closeWebSockets(force ?? false);
        if (force) server.closeAllConnections();
        else server.closeIdleConnections();
      }),
  };
};

function secured({ cert, key }: TlsIdentity) {
  return { cert, key, minVersion: "TLSv1.2" } as const;
}

/** Sends a response as fast as the client takes it. A body that fails cuts the connection. */
async function send(response: Response, outgoing: ServerResponse): Promise<void> {
  const body = response.body;
  if (outgoing.destroyed) return await body?.cancel().catch(() => {});
  const headers: string[] = [];
  response.headers.forEach((value, name) => headers.push(name, value));
  outgoing.writeHead(response.status, response.statusText, headers);
  if (body === null) return void outgoing.end();
  // A body that is there already goes out together with its head.
  if (!response.headers.has("content-length")) outgoing.flushHeaders();
  const part = filePartOf(body);
  const file = part && await openPart(part);
  if (part !== undefined && file !== undefined) {
    await body.cancel();
    // What cannot be read is cut, below as here.
    return await sendPart(file, part, outgoing).catch(() => void outgoing.destroy());
  }
  const reader = body.getReader();
  let whole = false;
  let wake = () => {};
  outgoing.on("drain", () => wake());
  outgoing.once("close", () => {
    wake();
    if (!whole) reader.cancel(new Error("the client has gone")).catch(() => {});
  });
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (outgoing.destroyed) return;
      if (done) {
        whole = true;
        return void outgoing.end();
      }
      if (!outgoing.write(value)) await new Promise<void>((resolve) => wake = resolve);
    }
  } catch {
    outgoing.destroy();
  }
}
