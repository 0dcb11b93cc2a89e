import type { Socket } from "node:net";
import type { PeerAddress } from "../core/host.ts";

/** An address as a runtime tells it, in this project's form. */
export function peerAddress(
  peer: { readonly address?: string | undefined; readonly port?: number | undefined } | null,
): PeerAddress | undefined {
  // A Unix socket's other end has none; Bun says it with an empty one.
  if (!peer?.address || peer.port === undefined) return undefined;
  return { address: peer.address.replace(/^::ffff:(?=\d+\.)/i, ""), port: peer.port };
}

/** The other end of a socket of `node:net`. */
export function peerOf({ remoteAddress, remotePort }: Socket): PeerAddress | undefined {
  return peerAddress({ address: remoteAddress, port: remotePort });
}
