import type { ServerCall } from "../protocol.ts";
import { tokensOf } from "./message.ts";

/** Fields that are of one connection alone. @see https://www.rfc-editor.org/rfc/rfc9110#section-7.6.1 */
const hopByHop: ReadonlySet<string> = new Set([
  "connection",
  "keep-alive",
  "proxy-connection",
  "proxy-authenticate",
  "proxy-authorization",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);

/** What this daemon alone says, to both sides. */
const own = "x-mayfly-";

/** Fields that each hop has of its own: how long a body is, what it waits for, how a WebSocket is agreed on. */
const ofRequest: ReadonlySet<string> = new Set([
  "content-length",
  "expect",
  "sec-websocket-key",
  "sec-websocket-accept",
  "sec-websocket-version",
  "sec-websocket-extensions",
]);

const none: ReadonlySet<string> = new Set();

/** Whether a field of a request ends here. */
function isOfHop(name: string): boolean {
  return hopByHop.has(name) || ofRequest.has(name) || name.startsWith(own);
}

/** The fields that `Connection` names beside those that always are of one connection. */
function namedByConnection(headers: Headers): ReadonlySet<string> {
  const connection = headers.get("connection");
  return connection === null ? none : tokensOf(connection);
}

/**
 * Leaves of an answer's fields those that go on to the caller: neither what is of the connection, nor what this daemon alone
 * says. Rates and timings of its own a function may tell.
 */
export function answerHeaders(headers: Headers): Headers {
  const named = namedByConnection(headers);
  const dropped: string[] = [];
  headers.forEach((_, name) => {
    if (hopByHop.has(name) || named.has(name) || name.startsWith(own)) dropped.push(name);
  });
  for (const name of dropped) headers.delete(name);
  return headers;
}

/**
 * The fields of a request as a function's server gets them: the caller's, and who it is, as far as that is known. What a
 * caller says of itself there is not taken; what a trusted proxy says of the caller's scheme, host and the like is.
 * @see https://www.rfc-editor.org/rfc/rfc7239
 */
export function requestHeaders({ id, request, trace }: ServerCall): Map<string, string> {
  const { client, method, headers: given } = request;
  // A proxy in front that is trusted has told the address without the port.
  const proxied = client === undefined || client.port === undefined;
  const named = namedByConnection(given);
  const headers = new Map<string, string>();
  given.forEach((value, name) => {
    if (named.has(name) || isOfHop(name)) return;
    if (!proxied && name.startsWith("x-forwarded-")) return;
    headers.set(name, value);
  });
  const scheme = (proxied && given.get("x-forwarded-proto")?.trim().toLowerCase()) ||
    (request.secure ? "https" : "http");
  const host = given.get("host") ?? "localhost";
  const outside = (proxied && given.get("x-forwarded-host")) || host;
  headers.set("host", host);
  headers.set("x-forwarded-proto", scheme === "https" ? "https" : "http");
  headers.set("x-forwarded-host", outside);
  headers.set("x-forwarded-prefix", request.scriptName);
  let forwarded = `proto=${scheme === "https" ? "https" : "http"};host="${outside.replaceAll(/["\\]/g, "")}"`;
  if (client === undefined) {
    headers.delete("x-forwarded-for");
    headers.delete("x-real-ip");
  } else {
    const { address } = client;
    headers.set("x-forwarded-for", address);
    headers.set("x-real-ip", address);
    forwarded = `for=${address.includes(":") ? `"[${address}]"` : address};${forwarded}`;
  }
  headers.set("forwarded", forwarded);
  headers.set("x-mayfly-invocation", id);
  if (trace !== undefined) {
    headers.set("traceparent", trace.traceparent);
    if (trace.tracestate === undefined) headers.delete("tracestate");
    else headers.set("tracestate", trace.tracestate);
  }
  for (const name of headers.keys()) {
    // Servers that read CGI's names cannot tell "x_real_ip" from "x-real-ip": a caller could speak for this daemon.
    const read = name.replaceAll("_", "-");
    if (read !== name && (headers.has(read) || isOfHop(read) || read.startsWith("x-forwarded-"))) headers.delete(name);
  }
  if (request.upgrade === undefined) headers.delete("sec-websocket-protocol");
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
