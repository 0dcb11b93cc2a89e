import { errno } from "../errno.ts";
import type { Kernel } from "../kernel.ts";
import {
  attribute,
  attributesOf,
  be16,
  be32,
  joined,
  nested,
  NLM_F_APPEND,
  NLM_F_CREATE,
  NLM_F_EXCL,
  text,
  textOf,
  u32,
} from "./message.ts";
import { NETLINK_NETFILTER, type NetlinkRequest, NetlinkSocket } from "./socket.ts";

/** @see linux/netfilter/nf_tables.h, nfnetlink.h of the kernel's user interface */
const subsystem = 10;
const [batchBegin, batchEnd] = [0x10, 0x11];
const message = {
  newTable: 0,
  getTable: 1,
  deleteTable: 2,
  newChain: 3,
  newRule: 6,
  newSet: 9,
  newElement: 12,
  deleteElement: 14,
} as const;
const registers = { verdict: 0, first: 8, second: 9, fourth: 11 } as const;
const verdicts = { drop: 0, accept: 1 } as const;
const metaKeys = { protocol: 1, iif: 4, iifname: 6, oifname: 7, l4proto: 16 } as const;
const bases = { link: 0, network: 1, transport: 2 } as const;
/** Where an Ethernet frame has its sender, and how long that is. */
const [etherSender, etherBytes] = [6, 6];
const ctState = 0;
const listElement = 1;
const nameBytes = 16;

/** Which packets a table sees. */
export type Family = "ip" | "bridge";
const families: Readonly<Record<Family, number>> = { ip: 2, bridge: 7 };

/** Where chains take their packets. @see https://wiki.nftables.org/wiki-nftables/index.php/Netfilter_hooks */
export const hooks = { prerouting: 0, input: 1, forward: 2, postrouting: 4 } as const;

export interface Table {
  readonly family: Family;
  readonly name: string;
}

export interface Chain {
  readonly name: string;
  readonly type: "filter" | "nat";
  readonly hook: keyof typeof hooks;
  readonly priority: number;
}

/** One expression of a rule, as the kernel takes it. */
export type Expression = Uint8Array<ArrayBuffer>;

/** Changes to the machine's packet filter, made as a whole or not at all. */
export class Changes {
  readonly #requests: NetlinkRequest[] = [];

  /** The requests, in order. */
  get requests(): readonly NetlinkRequest[] {
    return this.#requests;
  }

  addTable(table: Table): this {
    return this.#push(message.newTable, table, NLM_F_CREATE | NLM_F_EXCL, [attribute(1, text(table.name))], "make");
  }

  /** Removes a table with all that is in it. */
  removeTable(table: Table): this {
    return this.#push(message.deleteTable, table, 0, [attribute(1, text(table.name))], "remove");
  }

  addChain(table: Table, { name, type, hook, priority }: Chain): this {
    return this.#push(message.newChain, table, NLM_F_CREATE | NLM_F_EXCL, [
      attribute(1, text(table.name)),
      attribute(3, text(name)),
      nested(4, [attribute(1, be32(hooks[hook])), attribute(2, be32(priority))]),
      attribute(7, text(type)),
    ], `make chain ${name} of`);
  }

  /** Puts a rule behind those that a chain has. */
  addRule(table: Table, chain: string, expressions: readonly Expression[]): this {
    return this.#push(message.newRule, table, NLM_F_CREATE | NLM_F_APPEND, [
      attribute(1, text(table.name)),
      attribute(2, text(chain)),
      nested(4, expressions),
    ], `make a rule of chain ${chain} of`);
  }

  /** @param keyBytes the length of its elements. */
  addSet(table: Table, name: string, keyBytes: number): this {
    return this.#push(message.newSet, table, NLM_F_CREATE | NLM_F_EXCL, [
      attribute(1, text(table.name)),
      attribute(2, text(name)),
      attribute(3, be32(0)),
      // What programs show elements as: bytes.
      attribute(4, be32(0)),
      attribute(5, be32(keyBytes)),
      attribute(10, be32(this.#requests.length + 1)),
    ], `make set ${name} of`);
  }

  addElement(table: Table, set: string, key: Uint8Array): this {
    return this.#element(message.newElement, table, set, key, NLM_F_CREATE);
  }

  removeElement(table: Table, set: string, key: Uint8Array): this {
    return this.#element(message.deleteElement, table, set, key, 0);
  }

  #element(type: number, table: Table, set: string, key: Uint8Array, flags: number): this {
    return this.#push(type, table, flags, [
      attribute(1, text(table.name)),
      attribute(2, text(set)),
      nested(3, [nested(listElement, [nested(1, [attribute(1, key)])])]),
    ], `change set ${set} of`);
  }

  #push(type: number, table: Table, flags: number, attributes: readonly Uint8Array[], action: string): this {
    this.#requests.push({
      type: subsystem << 8 | type,
      flags,
      body: joined([header(families[table.family]), ...attributes]),
      why: `${action} nftables table ${table.family} ${JSON.stringify(table.name)}`,
    });
    return this;
  }
}

/** Whose packets these are, for rules to say. */
export const match = {
  /** The interface that a packet came in by, or leaves by. */
  name(side: "iifname" | "oifname", name: string, { not = false } = {}): readonly Expression[] {
    const padded = new Uint8Array(nameBytes);
    padded.set(new TextEncoder().encode(name));
    return [meta(metaKeys[side]), compare(padded, not)];
  },
  /** It came in by an interface whose name begins otherwise. */
  notFrom(prefix: string): readonly Expression[] {
    return [meta(metaKeys.iifname), compare(new TextEncoder().encode(prefix), true)];
  },
  /** The EtherType of a frame. */
  etherType(type: number): readonly Expression[] {
    return [meta(metaKeys.protocol), compare(be16(type))];
  },
  /** Belongs to a connection that is there already, or answers one. */
  known(): readonly Expression[] {
    const [established, related] = [2, 4];
    const load = expression("ct", [attribute(1, be32(registers.first)), attribute(2, be32(ctState))]);
    const mask = expression("bitwise", [
      attribute(1, be32(registers.first)),
      attribute(2, be32(registers.first)),
      attribute(3, be32(4)),
      nested(4, [attribute(1, u32(established | related))]),
      nested(5, [attribute(1, u32(0))]),
    ]);
    return [load, mask, compare(u32(0), true)];
  },
  /** Bytes of the network header are in a set. */
  headerIn(set: string, offset: number, length: number): readonly Expression[] {
    return [payload(bases.network, offset, length, registers.first), lookup(set)];
  },
  /** What `senderKey` puts together is in a set: where the frame came in, and the senders that it names. */
  senderIn(set: string, offset: number): readonly Expression[] {
    return [
      meta(metaKeys.iif),
      payload(bases.link, etherSender, etherBytes, registers.second),
      payload(bases.network, offset, 4, registers.fourth),
      lookup(set),
    ];
  },
  /** Bytes of the network header are these. */
  header(offset: number, bytes: Uint8Array): readonly Expression[] {
    return [payload(bases.network, offset, bytes.length, registers.first), compare(bytes)];
  },
  /** A port of UDP (17) or TCP (6) that it is for. */
  port(protocol: number, port: number): readonly Expression[] {
    return [
      meta(metaKeys.l4proto),
      compare(new Uint8Array([protocol])),
      payload(bases.transport, 2, 2, registers.first),
      compare(be16(port)),
    ];
  },
};

/** How long the keys of `match.senderIn` are. */
export const senderKeyBytes = 16;

/** The index of an interface, the hardware address (6 bytes) and the address (4 bytes) of who sends by it. */
export function senderKey(index: number, hardware: Uint8Array, address: Uint8Array): Uint8Array<ArrayBuffer> {
  return joined([u32(index), hardware, new Uint8Array(2), address]);
}

/** What becomes of them. */
export const accept = verdict(verdicts.accept);
export const drop = verdict(verdicts.drop);
/** They leave with the address of the interface that they leave by, and answers find their way back. */
export const masquerade = expression("masq", []);

/** The machine's packet filter. */
export class Nftables implements Disposable {
  readonly #socket: NetlinkSocket;

  constructor(socket: NetlinkSocket) {
    this.#socket = socket;
  }

  /** That of this process's network namespace. @throws unimplemented where the kernel has none. */
  static open(kernel: Kernel): Nftables {
    return new Nftables(NetlinkSocket.open(kernel, NETLINK_NETFILTER));
  }

  [Symbol.dispose](): void {
    this.#socket[Symbol.dispose]();
  }

  /** Makes all changes, or none. @throws as the first that failed. */
  apply(changes: Changes): void {
    const edge = (type: number) => ({ type, flags: 1, body: header(0, subsystem) });
    this.#socket.batch(edge(batchBegin), changes.requests, edge(batchEnd), "change the packet filter");
  }

  has(table: Table): boolean {
    const found = this.#socket.ask({
      type: subsystem << 8 | message.getTable,
      body: joined([header(families[table.family]), attribute(1, text(table.name))]),
      why: `find nftables table ${JSON.stringify(table.name)}`,
      ignore: [errno.ENOENT],
    });
    return found.length > 0;
  }

  /** The names of the tables of all families. */
  tables(): readonly string[] {
    return this.#socket.dump(subsystem << 8 | message.getTable, header(0), "list nftables tables")
      .map(({ body }) => textOf(attributesOf(body.subarray(4)).get(1)));
  }
}

/** `struct nfgenmsg`. */
function header(family: number, resource = 0): Uint8Array<ArrayBuffer> {
  return joined([new Uint8Array([family, 0]), be16(resource)]);
}

function expression(name: string, attributes: readonly Uint8Array[]): Expression {
  return nested(listElement, [attribute(1, text(name)), nested(2, attributes)]);
}

function meta(key: number): Expression {
  return expression("meta", [attribute(1, be32(registers.first)), attribute(2, be32(key))]);
}

function payload(base: number, offset: number, length: number, register: number): Expression {
  return expression("payload", [
    attribute(1, be32(register)),
    attribute(2, be32(base)),
    attribute(3, be32(offset)),
    attribute(4, be32(length)),
  ]);
}

function compare(value: Uint8Array, not = false): Expression {
  return expression("cmp", [
    attribute(1, be32(registers.first)),
    attribute(2, be32(not ? 1 : 0)),
    nested(3, [attribute(1, value)]),
  ]);
}

function lookup(set: string): Expression {
  return expression("lookup", [attribute(1, text(set)), attribute(2, be32(registers.first))]);
}

function verdict(code: number): Expression {
  return expression("immediate", [
    attribute(1, be32(registers.verdict)),
    nested(2, [nested(2, [attribute(1, be32(code))])]),
  ]);
}
