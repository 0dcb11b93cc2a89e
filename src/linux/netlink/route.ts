import { errno } from "../errno.ts";
import { AF_INET, IFF_UP } from "../flags.ts";
import type { Kernel } from "../kernel.ts";
import {
  attribute,
  attributesOf,
  joined,
  nested,
  NLM_F_CREATE,
  NLM_F_EXCL,
  text,
  textOf,
  u32,
  u32Of,
  u8,
} from "./message.ts";
import { NETLINK_ROUTE, NetlinkSocket } from "./socket.ts";

/** @see https://man7.org/linux/man-pages/man7/rtnetlink.7.html */
const [RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_NEWADDR, RTM_NEWROUTE] = [16, 17, 18, 20, 24];
const ifla = {
  address: 1,
  ifname: 3,
  mtu: 4,
  master: 10,
  linkinfo: 18,
  ifalias: 20,
  netNsFd: 28,
} as const;
const info = { kind: 1, data: 2, slaveKind: 4, slaveData: 5 } as const;
const [IFLA_BR_MCAST_SNOOPING, IFLA_BRPORT_ISOLATED, VETH_INFO_PEER] = [23, 33, 1];
const [IFA_ADDRESS, IFA_LOCAL] = [1, 2];
const [RTA_OIF, RTA_GATEWAY] = [4, 5];
const [RT_TABLE_MAIN, RTPROT_STATIC, RT_SCOPE_UNIVERSE, RTN_UNICAST] = [254, 4, 0, 1];

/** A network interface. */
export interface Link {
  readonly index: number;
  readonly name: string;
  /** What its administrator has to say of it. */
  readonly alias: string;
  /** The index of the bridge that it is a port of, or of the like. */
  readonly master: number | undefined;
  readonly mtu: number;
}

export interface NewVeth {
  readonly name: string;
  /** The index of the bridge that it is a port of. */
  readonly master: number;
  readonly mtu: number;
  /** The other end: a name and 6 bytes of address, in the network namespace that a descriptor stands for. */
  readonly peer: { readonly name: string; readonly address: Uint8Array; readonly namespace: number };
}

/** Interfaces, addresses and routes of one network namespace, by the kernel's own messages: no program is needed. */
export class Routing implements Disposable {
  readonly #socket: NetlinkSocket;

  /** @param socket one of NETLINK_ROUTE, which this object owns from here on. */
  constructor(socket: NetlinkSocket) {
    this.#socket = socket;
  }

  /** That of this process's network namespace. */
  static open(kernel: Kernel): Routing {
    return new Routing(NetlinkSocket.open(kernel, NETLINK_ROUTE));
  }

  [Symbol.dispose](): void {
    this.#socket[Symbol.dispose]();
  }

  /** @returns undefined where there is none of that name. */
  link(name: string): Link | undefined {
    const body = joined([interfaceHeader(), attribute(ifla.ifname, text(name))]);
    const ignore = [errno.ENODEV];
    const [message] = this.#socket.ask({ type: RTM_GETLINK, body, why: `find interface ${quote(name)}`, ignore });
    return message && linkOf(message.body);
  }

  links(): readonly Link[] {
    return this.#socket.dump(RTM_GETLINK, interfaceHeader(), "list interfaces").map(({ body }) => linkOf(body));
  }

  /** Makes a bridge, which is down. @throws already_exists for a name in use. */
  addBridge(name: string, options: { readonly mtu: number; readonly address: Uint8Array }): void {
    this.#socket.ask({
      type: RTM_NEWLINK,
      flags: NLM_F_CREATE | NLM_F_EXCL,
      body: joined([
        interfaceHeader(),
        attribute(ifla.ifname, text(name)),
        attribute(ifla.mtu, u32(options.mtu)),
        attribute(ifla.address, options.address),
        nested(ifla.linkinfo, [
          attribute(info.kind, text("bridge")),
          nested(info.data, [attribute(IFLA_BR_MCAST_SNOOPING, u8(0))]),
        ]),
      ]),
      why: `make bridge ${quote(name)}`,
    });
  }

  /** Makes a pair of interfaces, of which one is a port of a bridge here; both are down. */
  addVeth({ name, master, mtu, peer }: NewVeth): void {
    this.#socket.ask({
      type: RTM_NEWLINK,
      flags: NLM_F_CREATE | NLM_F_EXCL,
      body: joined([
        interfaceHeader(),
        attribute(ifla.ifname, text(name)),
        attribute(ifla.mtu, u32(mtu)),
        attribute(ifla.master, u32(master)),
        nested(ifla.linkinfo, [
          attribute(info.kind, text("veth")),
          nested(info.data, [
            nested(VETH_INFO_PEER, [
              interfaceHeader(),
              attribute(ifla.ifname, text(peer.name)),
              attribute(ifla.mtu, u32(mtu)),
              attribute(ifla.address, peer.address),
              attribute(ifla.netNsFd, u32(peer.namespace)),
            ]),
          ]),
        ]),
      ]),
      why: `make interface ${quote(name)}`,
    });
  }

  /** Keeps a port of a bridge from all others that are kept so: it reaches the bridge itself alone. */
  isolatePort(index: number): void {
    this.#socket.ask({
      type: RTM_NEWLINK,
      body: joined([
        interfaceHeader({ index }),
        nested(ifla.linkinfo, [
          attribute(info.slaveKind, text("bridge")),
          nested(info.slaveData, [attribute(IFLA_BRPORT_ISOLATED, u8(1))]),
        ]),
      ]),
      why: "isolate a port of the bridge",
    });
  }

  setAlias(index: number, alias: string): void {
    const body = joined([interfaceHeader({ index }), attribute(ifla.ifalias, text(alias))]);
    this.#socket.ask({ type: RTM_NEWLINK, body, why: "name the owner of an interface" });
  }

  /** Takes an interface into use. */
  raise(index: number): void {
    this.#socket.ask({ type: RTM_NEWLINK, body: interfaceHeader({ index, up: true }), why: "bring an interface up" });
  }

  /** Removes an interface, and the other end of its pair. No error where it is gone already. */
  remove(index: number): void {
    const body = interfaceHeader({ index });
    this.#socket.ask({ type: RTM_DELLINK, body, why: "remove an interface", ignore: [errno.ENODEV] });
  }

  /** Gives an interface an IPv4 address. @param bits of it that are the network's. */
  addAddress(index: number, address: Uint8Array, bits: number): void {
    const header = joined([new Uint8Array([AF_INET, bits, 0, 0]), u32(index)]);
    const body = joined([header, attribute(IFA_LOCAL, address), attribute(IFA_ADDRESS, address)]);
    this.#socket.ask({
      type: RTM_NEWADDR,
      flags: NLM_F_CREATE | NLM_F_EXCL,
      body,
      why: "give an interface an address",
    });
  }

  /** Sends what is for nobody near by to a gateway. */
  addDefaultRoute(index: number, gateway: Uint8Array): void {
    const header = new Uint8Array(12);
    header.set([AF_INET, 0, 0, 0, RT_TABLE_MAIN, RTPROT_STATIC, RT_SCOPE_UNIVERSE, RTN_UNICAST]);
    const body = joined([header, attribute(RTA_GATEWAY, gateway), attribute(RTA_OIF, u32(index))]);
    this.#socket.ask({ type: RTM_NEWROUTE, flags: NLM_F_CREATE | NLM_F_EXCL, body, why: "set the default route" });
  }
}

/** `struct ifinfomsg`. */
function interfaceHeader({ index = 0, up = false } = {}): Uint8Array<ArrayBuffer> {
  return joined([u32(0), u32(index), u32(up ? IFF_UP : 0), u32(up ? IFF_UP : 0)]);
}

const interfaceHeaderBytes = 16;

function linkOf(body: Uint8Array<ArrayBuffer>): Link {
  const attributes = attributesOf(body.subarray(interfaceHeaderBytes));
  return {
    index: u32Of(body.subarray(4)) ?? 0,
    name: textOf(attributes.get(ifla.ifname)),
    alias: textOf(attributes.get(ifla.ifalias)),
    master: u32Of(attributes.get(ifla.master)),
    mtu: u32Of(attributes.get(ifla.mtu)) ?? 0,
  };
}

function quote(name: string): string {
  return JSON.stringify(name);
}
