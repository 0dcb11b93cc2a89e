import type { Context, MiddlewareHandler } from "hono";
import type { Caller } from "../core/access.ts";
import { codeOf } from "../core/errors.ts";
import type { Monitor, Span, TraceContext } from "../core/monitor.ts";
import type { RateState } from "../core/rate.ts";
import { reasonOf } from "../functions/failures.ts";
import type { Client } from "../functions/request.ts";
import { type Bindings, clientAddress } from "./client_address.ts";

/** What a route finds in its context. */
export interface ApiEnv {
  Bindings: Bindings;
  Variables: {
    /** The request's span. */
    span: Span;
    requestId: string;
    /** Who asks, for the log, once that is known. */
    caller: string | undefined;
    /** Told what is left of a rate, so that the answer tells it. */
    onRate: (policy: string, state: RateState) => void;
    /** Where it comes from, as far as it is known. */
    client: Client | undefined;
    /** Tells who asks. @throws unauthenticated. */
    identify: () => Promise<Caller>;
  };
}

/** Methods that have a name in metrics; anybody can make up others. */
const methods: ReadonlySet<string> = new Set(["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"]);

/**
 * Tells the monitor of every request, of those that are refused too.
 * @param trustedProxies whose word on their clients is taken.
 * @see https://opentelemetry.io/docs/specs/semconv/http/http-spans/#http-server-span
 */
export function observeRequests(monitor: Monitor, trustedProxies: readonly string[]): MiddlewareHandler<ApiEnv> {
  const clientOf = clientAddress(trustedProxies);
  return async (c, next) => {
    const begin = performance.now();
    const { method: given, headers } = c.req.raw;
    const method = methods.has(given) ? given : "_OTHER";
    const client = clientOf(headers, c.env);
    const span = monitor.span(method, {
      kind: "server",
      parent: traceContext(headers),
      startMs: performance.timeOrigin + begin,
    });
    c.set("span", span);
    c.set("client", client);
    await next();
    const { status } = c.res;
    const route = routeOf(c);
    if (span.context !== undefined) {
      span.set({
        "http.request.method": method,
        "http.request.method_original": method === given ? undefined : given,
        "http.route": route,
        "http.request.header.x-request-id": [c.var.requestId],
        "http.response.status_code": status,
        "url.scheme": c.req.raw.url.startsWith("https:") ? "https" : "http",
        "url.path": c.req.path,
        "client.address": client?.address,
        "client.port": client?.port,
        "user_agent.original": headers.get("user-agent") ?? undefined,
        "error.type": status < 400 ? undefined : c.error ? reasonOf(c.error) ?? codeOf(c.error) : String(status),
      });
    }
    // What has become an invocation ends its span itself, behind its clean-up.
    if (!c.res.headers.has("x-mayfly-invocation")) {
      if (route !== undefined) span.rename(`${method} ${route}`);
      // A refusal is the caller's error, not the server's.
      span.end(status < 500 ? undefined : c.error ?? new Error(`answered with ${status}`));
    }
    monitor.request({ method, route, status, durationMs: performance.now() - begin });
  };
}

/** W3C trace context that came with a request. */
function traceContext(headers: Headers): TraceContext | undefined {
  const traceparent = headers.get("traceparent");
  return traceparent === null ? undefined : { traceparent, tracestate: headers.get("tracestate") ?? undefined };
}

/** The pattern of the route that answered, in OpenTelemetry's form: `/v1/functions/{name}`. */
function routeOf(c: Context): string | undefined {
  const path = c.req.routePath;
  if (path === "*" || path === "/*" || path === "/v1/*") return undefined;
  let route = routes.get(path);
  if (route === undefined) routes.set(path, route = routeName(path));
  return route;
}

/** Names of patterns, of which there are as many as the program has routes. */
const routes = new Map<string, string>();

function routeName(path: string): string {
  return path.replace(/\/(fn|function|async-function)\/:target(?:\/\*)?$/, "/$1/{name}").replace(
    /:(\w+)(?:\{[^}]*\})?/g,
    "{$1}",
  );
}
