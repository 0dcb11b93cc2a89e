import { Failure } from "../core/errors.ts";
import type { TraceContext } from "../core/monitor.ts";
import { version } from "../version.ts";
import type { InvocationRequest } from "./request.ts";

/** How many header fields a request may carry, and how many bytes they may have in all. */
export const headerLimits = { count: 128, bytes: 64 * 1024 } as const;

/**
 * Header fields that do not become HTTP_ variables: those with variables of their own, those that end at this hop, those
 * that carry credentials (RFC 3875, 4.1.18), and `Proxy`, which would become HTTP_PROXY and send the function's own
 * requests through a proxy of the caller's choice (https://httpoxy.org).
 */
const withheld: ReadonlySet<string> = new Set([
  "content-type",
  "content-length",
  "connection",
  "keep-alive",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
  "authorization",
  "proxy-authorization",
  "proxy",
  "traceparent",
  "tracestate",
]);

/**
 * `x-name` → `HTTP_X_NAME`, as CGI has it, and `Http_X_Name`, as OpenFaaS's classic watchdog; none for a field that is
 * withheld or cannot be told from another.
 */
function variablesOf(field: string): readonly string[] {
  // "x_y" and "x-y" would be one variable: a caller could pass for the proxy in front of the daemon.
  if (withheld.has(field) || !/^[a-z0-9-]+$/.test(field)) return [];
  return [`HTTP_${field.toUpperCase().replaceAll("-", "_")}`, watchdogName(field)];
}

function watchdogName(field: string): string {
  return `Http_${field.split("-").map((word) => word.slice(0, 1).toUpperCase() + word.slice(1)).join("_")}`;
}

/**
 * The request as environment variables of the function: those of CGI, and those of OpenFaaS's classic watchdog.
 *
 * @param own the variables that the image or the function sets: a header field never replaces one of them.
 * @throws invalid_argument for a path that is not percent-encoded text; resource_exhausted (reason `headers_too_large`).
 * @see https://www.rfc-editor.org/rfc/rfc3875#section-4.1
 */
export function requestEnvironment(
  request: InvocationRequest,
  id: string,
  trace: TraceContext | undefined,
  own: { has(name: string): boolean },
): Record<string, string> {
  const { headers } = request;
  const [serverName, serverPort] = splitHost(headers.get("host") ?? "localhost", request.secure ? "443" : "80");
  const env: Record<string, string> = {
    GATEWAY_INTERFACE: "CGI/1.1",
    SERVER_SOFTWARE: `mayfly/${version}`,
    SERVER_PROTOCOL: "HTTP/1.1",
    SERVER_NAME: serverName,
    SERVER_PORT: serverPort,
    REQUEST_METHOD: request.method,
    REQUEST_URI: `${request.scriptName}${request.path}${request.query === "" ? "" : `?${request.query}`}`,
    SCRIPT_NAME: request.scriptName,
    PATH_INFO: decodePath(request.path),
    QUERY_STRING: request.query,
    MAYFLY_INVOCATION_ID: id,
    Http_Method: request.method,
    Http_Path: decodePath(request.path),
    Http_Query: request.query,
  };
  // No variable of the specification says it; this one is what servers have agreed on.
  if (request.secure) env["HTTPS"] = "on";
  const { client } = request;
  if (client !== undefined) {
    env["REMOTE_ADDR"] = client.address;
    // Names are not looked up: the specification puts the address in their place.
    env["REMOTE_HOST"] = client.address;
    if (client.port !== undefined) env["REMOTE_PORT"] = String(client.port);
  }
  const type = headers.get("content-type");
  if (type !== null) env["CONTENT_TYPE"] = env["Http_Content_Type"] = text(type);
  const length = headers.get("content-length");
  if (length !== null && request.body !== null) {
    env["CONTENT_LENGTH"] = env["Http_Content_Length"] = env["Http_ContentLength"] = length;
  }
  if (trace !== undefined) {
    env["TRACEPARENT"] = trace.traceparent;
    if (trace.tracestate !== undefined) env["TRACESTATE"] = trace.tracestate;
  }
  let count = 0;
  let bytes = 0;
  headers.forEach((value, field) => {
    count++;
    bytes += field.length + value.length;
    for (const name of variablesOf(field)) if (!own.has(name)) env[name] = text(value);
  });
  if (count > headerLimits.count || bytes > headerLimits.bytes) {
    throw new Failure(
      "resource_exhausted",
      `cannot invoke the function: the request has ${count} header fields of ${bytes} bytes, ` +
        `${headerLimits.count} of ${headerLimits.bytes} are allowed`,
      { details: { reason: "headers_too_large" } },
    );
  }
  return env;
}

function decodePath(path: string): string {
  if (!path.includes("%")) return path;
  try {
    const decoded = decodeURIComponent(path);
    if (!decoded.includes("\0")) return decoded;
  } catch {
    // Told below, as a NUL is.
  }
  throw new Failure("invalid_argument", `cannot read the path ${JSON.stringify(path)}: wanted percent-encoded UTF-8`);
}

function splitHost(host: string, defaultPort: string): readonly [string, string] {
  const colon = host.lastIndexOf(":");
  return colon > host.lastIndexOf("]") ? [host.slice(0, colon), host.slice(colon + 1)] : [host, defaultPort];
}

/** A field's bytes arrive as one character each: what was sent as UTF-8 becomes its text again. */
function text(value: string): string {
  if (!/[\x80-\xff]/.test(value) || /[^\0-\xff]/.test(value)) return value;
  const bytes = Uint8Array.from(value, (character) => character.charCodeAt(0));
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return value;
  }
}
