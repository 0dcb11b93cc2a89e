import { Failure } from "../core/errors.ts";
import { leadsInside, leadsIntoNetwork, type Resolve } from "./endpoint.ts";

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

/** @throws permission_denied where a redirect leads from outside into a private network. */
export async function checkNetwork(from: URL, to: URL, resolve?: Resolve): Promise<void> {
  if (await leadsIntoNetwork(from, to, resolve)) {
    throw refusedRedirect(from, to.href, "it leads into a private network that the registry is no part of");
  }
}

/** The failure of a redirect that is not followed. What stands behind its `?` may be a signature, and is not shown. */
export function refusedRedirect(from: URL, location: string, why: string): Failure {
  const shown = JSON.stringify(location.slice(0, 200).replace(/\?.*/s, "?…"));
  return new Failure("permission_denied", `cannot follow the redirect of ${from.host} to ${shown}: ${why}`);
}
