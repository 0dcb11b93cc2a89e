import type { ImageReference } from "../core/reference.ts";

/** Tells whether a URL's host is this machine: its traffic passes no wire. */
export function isLoopback(url: URL): boolean {
  // The URL parser has written every form of an address in the one that is compared here.
  const host = url.hostname.replace(/\.$/, "");
  return host === "localhost" || host === "[::1]" || /^127(?:\.[0-9]{1,3}){3}$/.test(host) ||
    /^\[::ffff:7f[0-9a-f]{2}:[0-9a-f]{1,4}\]$/.test(host);
}

/**
 * Tells whether a stranger points where it does not get itself: into this machine (the unspecified address leads here
 * too), or to a neighbour on its link, where clouds have the service that tells a machine its secrets. What a name resolves
 * to is not asked.
 * @param from who points there.
 * @see https://www.rfc-editor.org/rfc/rfc3927
 */
export function leadsInside(from: URL, to: URL): boolean {
  return isInternal(to) && !isLoopback(from) && to.hostname !== from.hostname;
}

function isInternal(url: URL): boolean {
  const host = url.hostname.replace(/\.$/, "");
  return isLoopback(url) || host.endsWith(".localhost") ||
    /^(?:0\.0\.0\.0|169\.254(?:\.[0-9]{1,3}){2})$/.test(host) ||
    /^\[(?:::|::ffff:0:0|::ffff:a9fe:[0-9a-f]{1,4}|fe[89ab][0-9a-f]:.*|fd00:ec2::254)\]$/.test(host);
}

/** Tells whether nobody between here and there can read or change what is sent. */
export function isPrivate(url: URL): boolean {
  return url.protocol === "https:" || isLoopback(url);
}

/**
 * The address of a registry's API. `docker.io` is served by another host than its name says.
 * @param plainHttp http or https; where it is not said, http for this machine, https for all others.
 */
export function endpointOf(reference: ImageReference, plainHttp: boolean | undefined): URL {
  const host = reference.registry === "docker.io" ? "registry-1.docker.io" : reference.registry;
  const url = new URL(`http://${host}/v2/`);
  if (plainHttp ?? isLoopback(url)) return url;
  return new URL(`https://${host}/v2/`);
}
