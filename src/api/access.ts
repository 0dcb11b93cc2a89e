import type { Context, MiddlewareHandler } from "hono";
import { matchedRoutes } from "hono/route";
import { type Caller, requireScope, rootCaller } from "../core/access.ts";
import { Failure } from "../core/errors.ts";
import { type Origins, serveOrigin } from "./cors.ts";
import type { ApiEnv } from "./observe_requests.ts";
import type { ApiParts } from "./parts.ts";
import { needOf, placeOf } from "./scopes.ts";

/** Who may ask what through a listener. */
export interface Access {
  /**
   * `socket`: who can open the Unix socket may do everything. `tcp`: functions only, unless `admin` is set; Host and
   * Origin are checked.
   */
  readonly listener: "socket" | "tcp";
  /** Whether `/v1`, `/metrics` and `/openapi.json` are served over TCP, each to whom it is for. */
  readonly admin?: boolean;
  /** The address that the TCP listener is bound to. */
  readonly address?: string | undefined;
  /** Names that may stand in Host and Origin, beside loopback and the address. */
  readonly allowedHosts?: readonly string[];
  /** Proxies in front whose word on their clients is taken. @see ./client_address.ts */
  readonly trustedProxies?: readonly string[];
}

const loopback: ReadonlySet<string> = new Set(["localhost", "127.0.0.1", "[::1]"]);

/**
 * Refuses what a browser sends on behalf of a page from elsewhere: a Host that is none of ours is DNS rebinding, and an
 * Origin that is none of ours is another site.
 * @param originsOf what pages of other origins may do with what is asked for.
 * @throws permission_denied.
 */
export function checkHost(
  access: Access,
  originsOf: Origins = () => Promise.resolve({ origins: [] }),
): MiddlewareHandler<ApiEnv> {
  const names = new Set([...loopback, ...(access.allowedHosts ?? []).map((name) => name.toLowerCase())]);
  if (access.address !== undefined) names.add(bracketed(access.address.toLowerCase()));
  // Bound to every address of the machine, each of them is its own; a rebound request carries a name, never a number.
  const anyAddress = access.address === "0.0.0.0" || access.address === "::" || access.address === "[::]";
  const known = (name: string) => names.has(name) || (anyAddress && isAddress(name));
  return async (c, next) => {
    const host = c.req.raw.headers.get("host") ?? "";
    if (!known(hostname(host))) {
      throw new Failure(
        "permission_denied",
        `cannot serve a request for host ${JSON.stringify(host)}: it is none of this daemon's names, ` +
          "allowedHosts in its configuration adds some",
      );
    }
    const origin = c.req.raw.headers.get("origin");
    if (origin !== null) {
      const allowed = await originsOf(c);
      if (allowed.origins.includes("*") || allowed.origins.includes(origin)) return await serveOrigin(c, next, allowed);
    }
    if (origin !== null && !known(originHost(origin))) {
      throw new Failure(
        "permission_denied",
        `cannot serve a page from ${JSON.stringify(origin)}: its origin is none of this daemon's names, ` +
          "allowedHosts in its configuration adds some, and mayfly deploy --cors-origin for a function",
      );
    }
    // A page's images, scripts and frames are asked for without an Origin; links that a person follows are let through.
    const { headers } = c.req.raw;
    if (
      headers.get("sec-fetch-site") === "cross-site" && origin === null &&
      !(headers.get("sec-fetch-mode") === "navigate" && headers.get("sec-fetch-dest") === "document")
    ) {
      throw new Failure(
        "permission_denied",
        "cannot serve a page from elsewhere: its browser says so (Sec-Fetch-Site)",
      );
    }
    return await next();
  };
}

/** `Example.org:8080` → `example.org`. */
function hostname(host: string): string {
  return host.toLowerCase().replace(/:\d*$/, "");
}

function originHost(origin: string): string {
  return /^https?:\/\//.test(origin) ? hostname(origin.slice(origin.indexOf("//") + 2)) : "";
}

function bracketed(address: string): string {
  return address.includes(":") && !address.startsWith("[") ? `[${address}]` : address;
}

function isAddress(name: string): boolean {
  return /^\d{1,3}(?:\.\d{1,3}){3}$/.test(name) || /^\[[0-9a-f:.]+\]$/.test(name);
}

/** Lets routes ask who it is that asks. */
export function identifyCaller(
  { listener }: Pick<Access, "listener">,
  { authenticate }: Pick<ApiParts, "authenticate">,
): MiddlewareHandler<ApiEnv> {
  const identify = async (c: Context<ApiEnv>): Promise<Caller> => {
    const { headers } = c.req.raw;
    const given = /^Bearer +(\S+) *$/i.exec(headers.get("authorization") ?? "")?.[1] ??
      // Where AWS's clients put a token, beside a signature by a key that nobody here knows.
      headers.get("x-amz-security-token") ??
      // A browser sends a password that it was once given by itself: nothing else is to be had by one.
      (c.req.path.startsWith("/system/") ? passwordOf(headers) : undefined);
    if (given === undefined) {
      throw new Failure(
        "unauthenticated",
        `cannot ${c.req.method} ${c.req.path} without a token: wanted Authorization: Bearer <token>, ` +
          "mayfly token create makes one",
      );
    }
    const caller = await authenticate(given);
    c.set("caller", caller.name);
    if (caller.rate !== undefined) c.var.onRate("token", caller.rate);
    return caller;
  };
  return (c, next) => {
    let caller: Promise<Caller> | undefined;
    c.set("identify", () => caller ??= listener === "socket" ? Promise.resolve(rootCaller) : identify(c));
    return next();
  };
}

/** The token of OpenFaaS's clients, the password of the user `admin`. @see https://www.rfc-editor.org/rfc/rfc7617 */
function passwordOf(headers: Headers): string | undefined {
  const encoded = /^Basic +([A-Za-z0-9+/=]{1,8192}) *$/i.exec(headers.get("authorization") ?? "")?.[1];
  if (encoded === undefined) return undefined;
  try {
    return /^admin:(.+)$/s.exec(atob(encoded))?.[1];
  } catch {
    return undefined;
  }
}

/**
 * Guards the admin API: over TCP, each route asks for what `scopes.ts` says.
 * @throws permission_denied where it is not served, or without the right; unauthenticated without a token.
 */
export function requireRight(access: Access): MiddlewareHandler<ApiEnv> {
  if (access.listener === "socket") return (_c, next) => next();
  if (access.admin !== true) {
    return () => {
      throw new Failure(
        "permission_denied",
        "the admin API is not served over TCP: use the Unix socket, or set adminTcp",
      );
    };
  }
  return async (c, next) => {
    const caller = await c.var.identify();
    const route = matchedRoutes(c).find(({ method }) => method !== "ALL");
    // What nothing is served at is told to whoever is known.
    if (route !== undefined) {
      const need = needOf(route.method, route.path);
      const [namespace, ...more] = c.req.queries("namespace") ?? [];
      if (more.length > 0) throw new Failure("invalid_argument", "cannot read the query: it has two namespaces");
      requireScope(caller, need.scope, placeOf(need, namespace), `${c.req.method} ${c.req.path}`);
    }
    return await next();
  };
}
