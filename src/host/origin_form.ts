import type { IncomingMessage, ServerResponse } from "node:http";

type Listener = (incoming: IncomingMessage, outgoing: ServerResponse) => unknown;

/**
 * Brings requests into the form that handlers expect, and refuses those that would mean something else in it: `node:http`
 * lets them through. For a listener of its server.
 *
 * - `GET https://host/path` becomes `GET /path`: what a caller writes there must not pass for the connection's scheme.
 * - A body in `gzip, chunked` would go on as if it were none of gzip: 501, by RFC 9112, 6.1.
 */
export function inOriginForm(listener: Listener): Listener {
  return (incoming, outgoing) => {
    const coding = incoming.headers["transfer-encoding"];
    if (coding !== undefined && coding.trim().toLowerCase() !== "chunked") {
      outgoing.writeHead(501, { connection: "close", "content-length": 0 }).end();
      return;
    }
    const { url = "" } = incoming;
    const [, path] = /^https?:\/\/[^/?#]*(.*)$/i.exec(url) ?? [];
    if (path !== undefined) incoming.url = path.startsWith("/") ? path : `/${path}`;
    return listener(incoming, outgoing);
  };
}
