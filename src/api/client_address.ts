import { BlockList, isIP } from "node:net";
import type { Connection } from "../core/host.ts";
import type { Client } from "../functions/request.ts";

/** What the listener hands to every route. */
export interface Bindings {
  /** Undefined for a request that this process makes of itself. */
  readonly connection?: Connection | undefined;
}

/** Tells who sent a request: the connection's other end, or who a proxy in front says it was. */
export type ClientAddress = (headers: Headers, bindings: Bindings | undefined) => Client | undefined;

/**
 * @param trustedProxies addresses and networks (`10.0.0.0/8`) whose word on their clients is taken, or `unix` for who
 * connects over the Unix socket. Everybody else could write anything into X-Forwarded-For.
 */
export function clientAddress(trustedProxies: readonly string[]): ClientAddress {
  const networks = new BlockList();
  for (const entry of trustedProxies) {
    const [address = "", bits] = entry.split("/");
    if (isIP(address) === 0) continue;
    if (bits === undefined) networks.addAddress(address, family(address));
    else networks.addSubnet(address, Number(bits), family(address));
  }
  const trusts = (address: string) => isIP(address) !== 0 && networks.check(address, family(address));
  const socketIsTrusted = trustedProxies.includes("unix");

  return (headers, bindings) => {
    const peer = bindings?.connection?.peer();
    if (trustedProxies.length === 0 || !(peer === undefined ? socketIsTrusted : trusts(peer.address))) return peer;
    // Each proxy adds whom it saw at the end: the first one from there that is no proxy of ours is the client.
    let client: Client | undefined = peer;
    for (const entry of (headers.get("x-forwarded-for") ?? "").split(",").reverse()) {
      const address = /^\[?([0-9a-f:.]+?)\]?$/i.exec(entry.trim())?.[1] ?? "";
      if (isIP(address) === 0) break;
      client = { address };
      if (!trusts(address)) break;
    }
    return client;
  };
}

function family(address: string): "ipv4" | "ipv6" {
  return isIP(address) === 4 ? "ipv4" : "ipv6";
}
