import type { MiddlewareHandler } from "hono";
import { Failure } from "../core/errors.ts";
import { secret } from "../core/secret.ts";

/** Who may ask what through a listener. */
export interface Access {
  /**
   * `socket`: who can open the Unix socket may do everything. `tcp`: functions only, unless `adminToken` is set; Host and
   * Origin are checked.
   */
  readonly listener: "socket" | "tcp";
  /** The bearer token that opens `/v1` and `/metrics` over TCP; without one, they are not served there. */
  readonly adminToken?: string | undefined;
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
 * @throws permission_denied.
 */
export function checkHost(access: Access): MiddlewareHandler {
  const names = new Set([...loopback, ...(access.allowedHosts ?? []).map((name) => name.toLowerCase())]);
  if (access.address !== undefined) names.add(bracketed(access.address.toLowerCase()));
  // Bound to every address of the machine, each of them is its own; a rebound request carries a name, never a number.
  const anyAddress = access.address === "0.0.0.0" || access.address === "::" || access.address === "[::]";
  const known = (name: string) => names.has(name) || (anyAddress && isAddress(name));
  return (c, next) => {
    const host = c.req.raw.headers.get("host") ?? "";
    if (!known(hostname(host))) {
      throw new Failure(
        "permission_denied",
        `cannot serve a request for host ${JSON.stringify(host)}: it is none of this daemon's names, ` +
          "allowedHosts in its configuration adds some",
      );
    }
    const origin = c.req.raw.headers.get("origin");
    if (origin !== null && !known(originHost(origin))) {
      throw new Failure(
        "permission_denied",
        `cannot serve a page from ${JSON.stringify(origin)}: its origin is none of this daemon's names, ` +
          "allowedHosts in its configuration adds some",
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
    return next();
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

/** Guards the admin API. @throws permission_denied where it is not served; unauthenticated without the right token. */
export function requireAdmin(access: Access): MiddlewareHandler {
  if (access.listener === "socket") return (_c, next) => next();
  const { adminToken } = access;
  if (adminToken === undefined) {
    return () => {
      throw new Failure(
        "permission_denied",
        "the admin API is not served over TCP: use the Unix socket, or set adminTcp and adminToken",
      );
    };
  }
  const isToken = secret(adminToken);
  return async (c, next) => {
    const { headers } = c.req.raw;
    const given = /^Bearer +(\S+) *$/i.exec(headers.get("authorization") ?? "")?.[1] ??
      // Where AWS's clients put a token, beside a signature by a key that nobody here knows.
      headers.get("x-amz-security-token") ?? undefined;
    if (given === undefined || !await isToken(given)) {
      throw new Failure("unauthenticated", "the admin API over TCP wants the daemon's token: Authorization: Bearer …");
    }
    return await next();
  };
}
