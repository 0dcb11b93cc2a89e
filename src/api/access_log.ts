import type { MiddlewareHandler } from "hono";
import { clientAddress } from "./client_address.ts";
import type { ApiEnv } from "./observe_requests.ts";

/** Longer texts of clients are cut. */
const maxText = 1024;

/** One line of the access log. Queries, bodies and tokens are never in it. */
export interface AccessEntry {
  readonly time: string;
  readonly requestId: string;
  readonly listener: string;
  readonly client?: string | undefined;
  /** Who asked, where that was to be known: `token "ci"`. */
  readonly caller?: string | undefined;
  readonly method: string;
  readonly host?: string | undefined;
  readonly path: string;
  readonly status: number;
  /** Until the head of the answer was there; its body may take longer. */
  readonly durationMs: number;
  readonly requestBytes?: number | undefined;
  /** Where it is known beforehand. */
  readonly responseBytes?: number | undefined;
  readonly invocation?: string | undefined;
  readonly userAgent?: string | undefined;
}

/**
 * Writes a line for every request, for refused ones too.
 * @param listener what it came through: `socket`, `tcp`, `registry`.
 */
export function logAccess(
  listener: string,
  trustedProxies: readonly string[],
  write: ((entry: AccessEntry) => void) | undefined,
): MiddlewareHandler<ApiEnv> {
  if (write === undefined) return (_c, next) => next();
  const clientOf = clientAddress(trustedProxies);
  return async (c, next) => {
    const begin = performance.now();
    const time = new Date().toISOString();
    // Before an answer: a connection that has gone has no address any more.
    const client = clientOf(c.req.raw.headers, c.env);
    await next();
    const { headers } = c.req.raw;
    write({
      time,
      requestId: c.var.requestId,
      listener,
      client: client?.address,
      caller: c.var.caller,
      method: cut(c.req.method),
      host: cut(headers.get("host")),
      path: cut(c.req.path),
      status: c.res.status,
      durationMs: Math.round((performance.now() - begin) * 1000) / 1000,
      requestBytes: bytesOf(headers),
      responseBytes: bytesOf(c.res.headers),
      invocation: c.res.headers.get("x-mayfly-invocation") ?? undefined,
      userAgent: cut(headers.get("user-agent")),
    });
  };
}

function cut(text: string): string;
function cut(text: string | null): string | undefined;
function cut(text: string | null): string | undefined {
  return text === null ? undefined : text.length > maxText ? `${text.slice(0, maxText)}…` : text;
}

function bytesOf(headers: Headers): number | undefined {
  const length = headers.get("content-length");
  return length === null || !/^\d+$/.test(length) ? undefined : Number(length);
}
