import { Failure } from "../core/errors.ts";
import { addressIn, depthOf, isLoopback, leadsInside, type Resolve, resolveName } from "./endpoint.ts";

/**
 * Where a redirect leads.
 * @throws permission_denied where it leaves https, or leads into this machine or its link from outside: a registry must not make this
 * process ask what it cannot ask itself.
 */
export function redirected(from: URL, location: string): URL {
  if (!URL.canParse(location, from)) throw refusedRedirect(from, location, "it is no address");
  const to = new URL(location, from);
  if (to.protocol !== "https:" && to.protocol !== "http:") {
    throw refusedRedirect(from, location, "it is neither https nor http");
  }
  if (from.protocol === "https:" && to.protocol === "http:") throw refusedRedirect(from, location, "it leaves https");
  if (leadsInside(from, to)) {
    throw refusedRedirect(from, location, "it leads into this machine or its link");
  }
  to.username = "";
  to.password = "";
  return to;
}

/**
 * Sees that a stranger does not point further inside than it is itself: into a private network, by an address or by a name, or
 * by a name into this machine. A registry that is in a private network may point there.
 * @param from who points there.
 * @returns the addresses that have been found good, of a name: whoever connects to another one is led by who answers for the
 * name the next time. Undefined where none were looked for.
 * @throws permission_denied.
 */
export async function checkNetwork(
  from: URL,
  to: URL,
  resolve: Resolve = resolveName,
): Promise<readonly string[] | undefined> {
  if (to.hostname === from.hostname || isLoopback(from)) return undefined;
  const addressesOf = async (url: URL) => {
    const address = addressIn(url);
    return address === undefined ? await resolve(url.hostname).catch(() => []) : [address];
  };
  const there = await addressesOf(to);
  const inside = Math.max(0, ...there.map(depthOf));
  if (inside > 0) {
    const own = await addressesOf(from);
    if (own.length === 0 || Math.min(...own.map(depthOf)) < inside) {
      const where = inside === 2 ? "this machine or its link" : "a private network that the registry is no part of";
      throw refusedRedirect(from, to.href, `it leads into ${where}`);
    }
  }
  return addressIn(to) === undefined ? there : undefined;
}

/** The failure of a redirect that is not followed. What stands behind its `?` may be a signature, and is not shown. */
export function refusedRedirect(from: URL, location: string, why: string): Failure {
  const shown = JSON.stringify(location.slice(0, 200).replace(/\?.*/s, "?…"));
  return new Failure("permission_denied", `cannot follow the redirect of ${from.host} to ${shown}: ${why}`);
}
