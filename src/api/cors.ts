import type { Context } from "hono";
import { passOverEnded } from "../core/errors.ts";
import type { ApiEnv } from "./observe_requests.ts";
import type { ApiParts } from "./parts.ts";
import { splitTarget, withRevision } from "./fn.ts";
import { latestVersion } from "./lambda/target.ts";
import { functionUrlPath, urlsOf } from "./lambda/url_config.ts";

/** How long a browser may keep what it was told. */
const defaultMaxAgeSeconds = 600;

/** What pages from elsewhere may do. */
export interface CorsPolicy {
  /** `*` is all of them. */
  readonly origins: readonly string[];
  /** Undefined for whichever a page asks for, as with header fields; `*` likewise. */
  readonly methods?: readonly string[] | undefined;
  readonly headers?: readonly string[] | undefined;
  /** Header fields of answers that a page may read. Default all. */
  readonly exposed?: readonly string[] | undefined;
  /** Whether a browser sends cookies and passwords of its own. Default false. */
  readonly credentials?: boolean | undefined;
  /** How long a browser may keep what it was told. Default 10 min. */
  readonly maxAgeSeconds?: number | undefined;
}

/** Tells what pages from elsewhere may do with what a request is for. */
export type Origins = (c: Context<ApiEnv>) => Promise<CorsPolicy>;

/** Those that a function names; nothing else may be used by pages from elsewhere. */
export function functionOrigins({ functions }: Pick<ApiParts, "functions">): Origins {
  return async (c) => {
    if (c.req.path.startsWith(functionUrlPath)) return await urlPolicy(functions, c);
    const prefix = /^(?:\/async)?(\/fn\/)|^\/(?:async-)?(function\/)/.exec(c.req.path);
    if (prefix === null) return { origins: [] };
    const [whole, own, openfaas] = prefix;
    const { name, namespace, revision } = own === undefined
      ? splitTarget(c.req.raw.url.replace(whole, `/${openfaas}`), { prefix: `/${openfaas}` })
      : splitTarget(c.req.raw.url.replace(whole, own));
    const record = await functions.answering(namespace, name, {
      headers: withRevision(c.req.raw.headers, revision),
      identify: c.var.identify,
    }).catch(passOverEnded);
    return { origins: record?.corsOrigins ?? [] };
  };
}

async function urlPolicy(functions: ApiParts["functions"], c: Context<ApiEnv>): Promise<CorsPolicy> {
  const { name, namespace, revision } = splitTarget(c.req.raw.url, { prefix: functionUrlPath });
  const record = await functions.get(namespace, name).catch(passOverEnded);
  const cors = record && urlsOf(record)[revision ?? latestVersion]?.Cors;
  return {
    origins: cors?.AllowOrigins ?? [],
    methods: cors?.AllowMethods,
    headers: cors?.AllowHeaders,
    exposed: cors?.ExposeHeaders ?? [],
    credentials: cors?.AllowCredentials,
    maxAgeSeconds: cors?.MaxAge,
  };
}

/**
 * Serves a page from an origin that may: what it asks beforehand is answered here, everything else told to it. Cookies and
 * passwords of the browser are sent where the policy says so alone; a page may send a token.
 * @see https://fetch.spec.whatwg.org/#http-cors-protocol
 */
export async function serveOrigin(
  c: Context<ApiEnv>,
  next: () => Promise<void>,
  policy: CorsPolicy,
): Promise<Response | void> {
  const { origins, methods, headers: fields, exposed, credentials, maxAgeSeconds = defaultMaxAgeSeconds } = policy;
  // What comes with cookies is for one origin by its name.
  const origin = origins.includes("*") && !credentials ? "*" : c.req.raw.headers.get("origin") ?? "";
  const method = c.req.raw.headers.get("access-control-request-method");
  if (c.req.method === "OPTIONS" && method !== null) {
    const headers = new Headers({
      "access-control-allow-origin": origin,
      "access-control-allow-methods": listOf(methods, method),
      "access-control-max-age": String(maxAgeSeconds),
      vary: "Origin, Access-Control-Request-Method, Access-Control-Request-Headers",
    });
    const wanted = c.req.raw.headers.get("access-control-request-headers");
    if (wanted !== null) headers.set("access-control-allow-headers", listOf(fields, wanted));
    if (credentials) headers.set("access-control-allow-credentials", "true");
    return new Response(null, { status: 204, headers });
  }
  await next();
  c.res.headers.set("access-control-allow-origin", origin);
  if (exposed === undefined) c.res.headers.set("access-control-expose-headers", "*");
  else if (exposed.length > 0) c.res.headers.set("access-control-expose-headers", exposed.join(", "));
  if (credentials) c.res.headers.set("access-control-allow-credentials", "true");
  c.res.headers.append("vary", "Origin");
}

function listOf(allowed: readonly string[] | undefined, asked: string): string {
  return allowed === undefined || allowed.includes("*") ? asked : allowed.join(", ");
}
