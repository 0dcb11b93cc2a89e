import type { Context } from "hono";
import { passOverEnded } from "../core/errors.ts";
import type { ApiEnv } from "./observe_requests.ts";
import type { ApiParts } from "./parts.ts";
import { splitTarget, withRevision } from "./fn.ts";

/** How long a browser may keep what it was told. */
const maxAgeSeconds = 600;

/** Tells from which origins pages may use what a request is for; `*` is all of them. */
export type Origins = (c: Context<ApiEnv>) => Promise<readonly string[]>;

/** Those that a function names; nothing else may be used by pages from elsewhere. */
export function functionOrigins({ functions }: Pick<ApiParts, "functions">): Origins {
  return async (c) => {
    const prefix = /^(?:\/async)?(\/fn\/)|^\/(?:async-)?(function\/)/.exec(c.req.path);
    if (prefix === null) return [];
    const [whole, own, openfaas] = prefix;
    const { name, namespace, revision } = own === undefined
      ? splitTarget(c.req.raw.url.replace(whole, `/${openfaas}`), { prefix: `/${openfaas}` })
      : splitTarget(c.req.raw.url.replace(whole, own));
    const record = await functions.answering(namespace, name, {
      headers: withRevision(c.req.raw.headers, revision),
      identify: c.var.identify,
    }).catch(passOverEnded);
    return record?.corsOrigins ?? [];
  };
}

/**
 * Serves a page from an origin that may: what it asks beforehand is answered here, everything else told to it. Cookies and
 * passwords of the browser are not sent; a page may send a token.
 * @see https://fetch.spec.whatwg.org/#http-cors-protocol
 */
export async function serveOrigin(
  c: Context<ApiEnv>,
  next: () => Promise<void>,
  origins: readonly string[],
): Promise<Response | void> {
  const origin = origins.includes("*") ? "*" : c.req.raw.headers.get("origin") ?? "";
  const method = c.req.raw.headers.get("access-control-request-method");
  if (c.req.method === "OPTIONS" && method !== null) {
    const headers = new Headers({
      "access-control-allow-origin": origin,
      "access-control-allow-methods": method,
      "access-control-max-age": String(maxAgeSeconds),
      vary: "Origin, Access-Control-Request-Method, Access-Control-Request-Headers",
    });
    const wanted = c.req.raw.headers.get("access-control-request-headers");
    if (wanted !== null) headers.set("access-control-allow-headers", wanted);
    return new Response(null, { status: 204, headers });
  }
  await next();
  c.res.headers.set("access-control-allow-origin", origin);
  c.res.headers.set("access-control-expose-headers", "*");
  c.res.headers.append("vary", "Origin");
}
