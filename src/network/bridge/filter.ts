import {
  accept,
  Changes,
  drop,
  masquerade,
  match,
  type Nftables,
  senderKey,
  senderKeyBytes,
  type Table,
} from "../../linux/netlink/nftables.ts";
import { bytesOf, type Ipv4 } from "../ipv4.ts";

/** Where the headers have the sender's address: of IPv4, and of ARP. */
const [ipSender, arpSender, addressBytes] = [12, 14, 4];
const ipReceiver = 16;
/** 169.254.0.0/16 */
const linkLocal = new Uint8Array([169, 254]);
const [etherIpv4, etherArp] = [0x0800, 0x0806];
const [tcp, udp, domain] = [6, 17, 53];

/** What the names of a bridge's ports begin with, and those of no other bridge's. */
export function portPrefix(bridge: string): string {
  // FNV-1a, folded to 16 bits: the kernel takes names of 15 characters.
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(bridge)) hash = Math.imul(hash ^ byte, 0x01000193);
  return `mf${((hash >>> 16 ^ hash) & 0xffff).toString(16).padStart(4, "0")}`;
}

/** The hardware address of who has an address: the same for the same, so that who knows the one goes on knowing the other. */
export function hardwareAddress(address: Ipv4): Uint8Array<ArrayBuffer> {
  return new Uint8Array([0x02, 0x42, ...bytesOf(address)]);
}

/** A container's end: the port of the bridge that it is behind, and the address that it was given. */
export interface Port {
  readonly index: number;
  readonly address: Ipv4;
  readonly egress: boolean;
}

/**
 * What containers on a bridge may send, and to whom.
 *
 * On the bridge: frames of IPv4 and ARP alone, with the sender's own addresses, whatever a container with NET_RAW makes up:
 * the bridge learns from what it is sent where to send the answers.
 * That ports do not reach each other is the bridge's own doing.
 *
 * From there on: answers to what came from the machine. What a container begins itself goes through for those with egress,
 * out of the machine but not back into the bridge, nor to link-local addresses, where clouds give credentials to machines;
 * and to the machine itself for names alone. From elsewhere nothing comes in but answers.
 */
export class BridgeFilter {
  readonly #nftables: Nftables;
  readonly #name: string;
  readonly #frames: Table;
  readonly #packets: Table;

  /** @param name of the bridge and of the tables. */
  constructor(nftables: Nftables, name: string) {
    this.#nftables = nftables;
    this.#name = name;
    this.#frames = { family: "bridge", name };
    this.#packets = { family: "ip", name };
  }

  /** Makes the tables. */
  make(): void {
    const [frames, packets, name] = [this.#frames, this.#packets, this.#name];
    const [from, to] = [match.name("iifname", name), match.name("oifname", name)];
    const elsewhere = match.name("oifname", name, { not: true });
    const allowed = match.headerIn("egress", ipSender, addressBytes);
    const changes = new Changes()
      .addTable(frames)
      .addSet(frames, "senders", senderKeyBytes)
      .addChain(frames, { name: "prerouting", type: "filter", hook: "prerouting", priority: -300 })
      // Other bridges' ports are none of this one's business. One that is nobody's any more sends nothing.
      .addRule(frames, "prerouting", [...match.notFrom(portPrefix(name)), accept]);
    for (const [type, offset] of [[etherIpv4, ipSender], [etherArp, arpSender]] as const) {
      changes.addRule(frames, "prerouting", [
        ...match.etherType(type),
        ...match.senderIn("senders", offset),
        accept,
      ]);
    }
    changes.addRule(frames, "prerouting", [drop]);

    changes.addTable(packets).addSet(packets, "egress", addressBytes)
      .addChain(packets, { name: "forward", type: "filter", hook: "forward", priority: 0 })
      .addRule(packets, "forward", [...to, ...match.name("iifname", name, { not: true }), ...match.known(), accept])
      .addRule(packets, "forward", [...to, drop])
      .addRule(packets, "forward", [...from, ...match.header(ipReceiver, linkLocal), drop])
      .addRule(packets, "forward", [...from, ...allowed, accept])
      .addRule(packets, "forward", [...from, drop])
      .addChain(packets, { name: "input", type: "filter", hook: "input", priority: 0 })
      .addRule(packets, "input", [...from, ...match.known(), accept]);
    for (const protocol of [udp, tcp]) {
      changes.addRule(packets, "input", [...from, ...allowed, ...match.port(protocol, domain), accept]);
    }
    changes.addRule(packets, "input", [...from, drop])
      .addChain(packets, { name: "postrouting", type: "nat", hook: "postrouting", priority: 100 })
      .addRule(packets, "postrouting", [...allowed, ...elsewhere, masquerade]);
    this.#nftables.apply(changes);
  }

  /** Lets a port send. */
  add({ index, address, egress }: Port): void {
    const own = bytesOf(address);
    const changes = new Changes()
      .addElement(this.#frames, "senders", senderKey(index, hardwareAddress(address), own));
    if (egress) changes.addElement(this.#packets, "egress", own);
    this.#nftables.apply(changes);
  }

  remove({ index, address, egress }: Port): void {
    const own = bytesOf(address);
    const changes = new Changes()
      .removeElement(this.#frames, "senders", senderKey(index, hardwareAddress(address), own));
    if (egress) changes.removeElement(this.#packets, "egress", own);
    this.#nftables.apply(changes);
  }

  /** Removes the tables, where they are there. @returns whether any was. */
  destroy(): boolean {
    const there = [this.#frames, this.#packets].filter((table) => this.#nftables.has(table));
    if (there.length === 0) return false;
    const changes = new Changes();
    for (const table of there) changes.removeTable(table);
    this.#nftables.apply(changes);
    return true;
  }
}
