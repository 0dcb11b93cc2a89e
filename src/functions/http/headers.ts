import type { ServerCall } from "../protocol.ts";
import { tokensOf } from "./message.ts";

/** Fields that are of one connection alone. @see https://www.rfc-editor.org/rfc/rfc9110#section-7.6.1 */
const hopByHop = [
  "connection",
  "keep-alive",
  "proxy-connection",
  "proxy-authenticate",
  "proxy-authorization",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
] as const;

function withoutHop(given: Headers): Headers {
  const headers = new Headers(given);
  for (const name of tokensOf(given.get("connection"))) {
    if (/^[!#$%&'*+.^_`|~0-9a-z-]+$/.test(name)) headers.delete(name);
  }
  for (const name of hopByHop) headers.delete(name);
  return headers;
}

/** The fields of an answer that go on to the caller. */
export function answerHeaders(given: Headers): Headers {
  return withoutHop(given);
}

/**
 * The fields of a request as a function's server gets them: the caller's, and who it is, as far as that is known. What a
 * caller says of itself there is not taken; what a trusted proxy says of the caller's scheme and host is.
 * @see https://www.rfc-editor.org/rfc/rfc7239
 */
export function requestHeaders({ id, request, trace }: ServerCall): Headers {
  const { client, method } = request;
  const headers = withoutHop(request.headers);
  headers.delete("expect");
  // A proxy in front that is trusted has told the address without the port.
  const proxied = client === undefined || client.port === undefined;
  const scheme = (proxied && request.headers.get("x-forwarded-proto")?.trim().toLowerCase()) ||
    (request.secure ? "https" : "http");
  const host = request.headers.get("host") ?? "localhost";
  const outside = (proxied && request.headers.get("x-forwarded-host")) || host;
  headers.set("host", host);
  headers.set("x-forwarded-proto", scheme === "https" ? "https" : "http");
  headers.set("x-forwarded-host", outside);
  headers.set("x-forwarded-prefix", request.scriptName);
  const parts = [`proto=${scheme === "https" ? "https" : "http"}`, `host="${outside.replaceAll(/["\\]/g, "")}"`];
  if (client === undefined) headers.delete("x-forwarded-for");
  else {
    headers.set("x-forwarded-for", client.address);
    parts.unshift(`for=${client.address.includes(":") ? `"[${client.address}]"` : client.address}`);
  }
  headers.set("forwarded", parts.join(";"));
  headers.set("x-mayfly-invocation", id);
  for (const name of ["traceparent", "tracestate"] as const) {
    if (trace === undefined) continue;
    const value = trace[name];
    if (value === undefined) headers.delete(name);
    else headers.set(name, value);
  }
  // Of a handshake, each hop has its own.
  for (const name of ["key", "accept", "version", "extensions"]) headers.delete(`sec-websocket-${name}`);
  if (request.upgrade === undefined) headers.delete("sec-websocket-protocol");
  headers.delete("content-length");
  const length = bodyLength(request);
  if (length !== undefined) headers.set("content-length", String(length));
  else if (request.body !== null) headers.set("transfer-encoding", "chunked");
  else if (method !== "GET" && method !== "HEAD") headers.set("content-length", "0");
  return headers;
}

/** What the caller says of its body's length; its listener holds it to that. */
export function bodyLength({ headers, body }: ServerCall["request"]): number | undefined {
  const text = headers.get("content-length");
  return body !== null && text !== null && /^\d{1,15}$/.test(text) ? Number(text) : undefined;
}
