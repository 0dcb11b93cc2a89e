import { lookup } from "node:dns/promises";
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

const privateAddress =
  /^(?:10\.|172\.(?:1[6-9]|2[0-9]|3[01])\.|192\.168\.|100\.(?:6[4-9]|[7-9][0-9]|1[01][0-9]|12[0-7])\.)/;

/**
 * Tells whether an address is of a private network; one of IPv4 may be written as one of IPv6.
 * @see https://www.rfc-editor.org/rfc/rfc1918 and rfc4193, rfc6052, rfc6598
 */
function isPrivateAddress(address: string): boolean {
  const mapped = /^(?:::ffff:|64:ff9b::)([0-9a-f]{1,4}):([0-9a-f]{1,4})$/.exec(address);
  if (mapped === null) return privateAddress.test(address) || /^f[cd][0-9a-f]{2}:/.test(address);
  const [high, low] = [parseInt(mapped[1] ?? "", 16), parseInt(mapped[2] ?? "", 16)];
  return privateAddress.test([high >> 8, high & 255, low >> 8, low & 255].join("."));
}

/** How far inside an address is: 2 for this machine and its link, 1 for a private network, 0 for all others. */
export function depthOf(address: string): 0 | 1 | 2 {
  // The URL parser writes all forms of an address in one.
  const url = new URL(`http://${address.includes(":") ? `[${address.replace(/%.*/, "")}]` : address}`);
  if (isInternal(url)) return 2;
  return isPrivateAddress(url.hostname.replace(/^\[|\]$/g, "")) ? 1 : 0;
}

/** Finds the addresses of a name. */
export type Resolve = (hostname: string) => Promise<readonly string[]>;

export const resolveName: Resolve = async (hostname) =>
  (await lookup(hostname, { all: true })).map(({ address }) => address);

/** The address that a URL's host is; undefined for a name. */
export function addressIn({ hostname }: URL): string | undefined {
  // The URL parser has written every form of an IPv4 address as four numbers, and IPv6 in brackets.
  return /^(?:\[.*\]|[0-9.]+)$/.test(hostname) ? hostname.replace(/^\[|\]$/g, "") : undefined;
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
