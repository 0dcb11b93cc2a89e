import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { codeOf, Failure, messageOf } from "../../core/errors.ts";
import {
  type Attachment,
  type ConnectOptions,
  type Network,
  type NetworkSettings,
  withConnection,
} from "../../core/network.ts";
import type { Spec } from "../../core/spec.ts";
import { AF_NETLINK, SOCK_RAW } from "../../linux/flags.ts";
import type { Kernel } from "../../linux/kernel.ts";
import { Nftables } from "../../linux/netlink/nftables.ts";
import { type Link, Routing } from "../../linux/netlink/route.ts";
import { NETLINK_ROUTE, NetlinkSocket } from "../../linux/netlink/socket.ts";
import { makeNetworkNamespace } from "../../linux/network_namespace.ts";
import { NetworkSockets } from "../../linux/network_sockets.ts";
import { ownIds } from "../../linux/own_ids.ts";
import { writeContainerFiles } from "../container_files.ts";
import { bytesOf, formatIpv4, type Subnet } from "../ipv4.ts";
import { withNetworkNamespace } from "../namespace.ts";
import { BridgeFilter, hardwareAddress, type Port, portPrefix } from "./filter.ts";
import { Leases } from "./leases.ts";
import { checkSubnet, uplinkMtu } from "./routes.ts";

export interface BridgeParts {
  readonly kernel: Kernel;
  readonly root: string;
  readonly run: string;
  readonly name: string;
  readonly subnet: Subnet;
}

/** How long the bridge stays when nobody is on it: making it takes longer than a container. */
const idleMs = 3000;

/** What a container's interface is called inside. */
const insideName = "eth0";

/** What is there while somebody is on the bridge. */
interface Open {
  readonly index: number;
  readonly mtu: number;
  readonly routing: Routing;
  readonly nftables: Nftables;
  readonly filter: BridgeFilter;
  readonly sockets: NetworkSockets;
}

/**
 * A bridge of the machine with one pair of interfaces for each container, all made by netlink. What is in the kernel is all
 * that is kept: the daemon holds a container's network namespace by a descriptor, and who has which address in memory, so
 * that its end leaves nothing but the bridge, the packet filter and interfaces for `recover`.
 */
export class Bridge implements Network, AsyncDisposable {
  readonly id = "bridge";
  readonly #parts: BridgeParts;
  readonly #leases: Leases;
  #open: Open | undefined;
  #idle: ReturnType<typeof setTimeout> | undefined;

  constructor(parts: BridgeParts) {
    this.#parts = parts;
    this.#leases = new Leases(parts.subnet);
  }

  apply(spec: Spec, settings: NetworkSettings): Spec {
    if (!ownIds(this.#parts.kernel).all) {
      throw new Failure(
        "failed_precondition",
        'cannot connect a container by network "bridge": the daemon, which an ordinary user runs, may not make interfaces ' +
          'of the machine: use "none" or "host", or run the daemon as root',
        { details: { field: "network" } },
      );
    }
    if (settings.network !== this.id) {
      throw new Failure(
        "invalid_argument",
        `cannot use network ${JSON.stringify(settings.network)}: bridge takes nothing behind a colon`,
        { details: { field: "network" } },
      );
    }
    return withConnection(withNetworkNamespace(spec, true), settings);
  }

  // The kernel answers each message at once: all of it happens in one turn.
  connect({ id, namespace, spec, settings }: ConnectOptions): Promise<Attachment> {
    return Promise.resolve().then(() => this.#connect({ id, namespace, spec, settings }));
  }

  #connect({ id, namespace, spec, settings }: ConnectOptions): Attachment {
    const { kernel, name, subnet } = this.#parts;
    using undo = new DisposableStack();
    undo.defer(() => this.#rest());
    const open = this.#need();
    if (settings.egress) forward();
    const address = this.#leases.take();
    undo.defer(() => this.#leases.giveBack(address));
    const networkNamespace = makeNetworkNamespace(kernel);
    // The pair goes with the namespace, behind our back: to remove it by name, the kernel would let us wait for 10 ms.
    undo.defer(() => kernel.attempt("close", networkNamespace));
    const outside = `${portPrefix(name)}${crypto.randomUUID().replaceAll("-", "").slice(0, 9)}`;
    try {
      open.routing.addVeth({
        name: outside,
        master: open.index,
        mtu: open.mtu,
        peer: { name: insideName, address: hardwareAddress(address), namespace: networkNamespace },
      });
    } catch (error) {
      throw error instanceof Failure && error.errno === "EXFULL" ? full(name, error) : error;
    }
    const index = open.routing.link(outside)?.index ?? 0;
    open.routing.isolatePort(index);
    open.routing.setAlias(index, `${name} ${namespace}/${id}`);
    const port: Port = { index, address, egress: settings.egress };
    open.filter.add(port);
    // Where somebody has removed the bridge, there is no such port any more.
    undo.defer(() => this.#open === open && open.filter.remove(port));
    open.routing.raise(index);

    const kind = { family: AF_NETLINK, type: SOCK_RAW, protocol: NETLINK_ROUTE };
    const socket = open.sockets.make(networkNamespace, kind);
    using inside = new Routing(new NetlinkSocket(kernel, socket));
    const own = inside.link(insideName)?.index ?? 0;
    inside.addAddress(own, bytesOf(address), subnet.bits);
    inside.raise(own);
    // Without, what is beyond the machine cannot be reached from the first, and is not waited for.
    if (settings.egress) inside.addDefaultRoute(own, bytesOf(this.#leases.gateway));

    const addresses = [formatIpv4(address)];
    const files = writeContainerFiles(spec, { folder: join(this.#folder, outside), addresses, settings });
    undo.defer(() => files.remove());
    const held = undo.move();
    return {
      spec: files.spec,
      networkNamespace,
      addresses,
      [Symbol.asyncDispose]: () => Promise.resolve().then(() => held.dispose()),
    };
  }

  recover(): Promise<readonly string[]> {
    return Promise.resolve().then(() => this.#recover());
  }

  #recover(): readonly string[] {
    const { kernel, name } = this.#parts;
    rmSync(this.#folder, { recursive: true, force: true });
    if (!ownIds(kernel).all) return [];
    using routing = Routing.open(kernel);
    const links = routing.links();
    const own = links.find((link) => link.name === name);
    if (own !== undefined && !this.#isOurs(own, links)) return [];
    const removed = links.filter(({ alias, master }) => alias.startsWith(`${name} `) && master === own?.index);
    if (own !== undefined) removed.push(own);
    for (const { index } of removed) routing.remove(index);
    const names = removed.map((link) => link.name);
    using nftables = openNftables(kernel);
    return nftables !== undefined && new BridgeFilter(nftables, name).destroy()
      ? [...names, `nftables ${name}`]
      : names;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve().then(() => this.#close());
  }

  get #folder(): string {
    return join(this.#parts.run, "network", this.#parts.name);
  }

  /** Who made the bridge, as its alias has it. */
  get #owner(): string {
    return `mayfly ${this.#parts.root}`;
  }

  /** A bridge of that name is another's unless it says that it is ours, or is as bare as one that was just made. */
  #isOurs({ index, alias }: Link, links: readonly Link[]): boolean {
    return alias === this.#owner.slice(0, 250) || (alias === "" && !links.some(({ master }) => master === index));
  }

  /** The bridge, which is made where it is not there. */
  #need(): Open {
    clearTimeout(this.#idle);
    const { name } = this.#parts;
    if (this.#open !== undefined) {
      if (this.#open.routing.link(name)?.index === this.#open.index) return this.#open;
      // Somebody has removed it: containers that were on it are off, those that come are not to be.
      this.#close();
    }
    return this.#open = this.#make();
  }

  #make(): Open {
    const { kernel, name, subnet } = this.#parts;
    const gateway = this.#leases.gateway;
    using undo = new DisposableStack();
    try {
      const routing = undo.use(Routing.open(kernel));
      const nftables = undo.use(Nftables.open(kernel));
      const sockets = undo.use(new NetworkSockets(kernel));
      const links = routing.links();
      const there = links.find((link) => link.name === name);
      if (there !== undefined) {
        if (!this.#isOurs(there, links)) throw taken(there);
        routing.remove(there.index);
      }
      checkSubnet(subnet);
      const mtu = uplinkMtu();
      routing.addBridge(name, { mtu, address: hardwareAddress(gateway) });
      const index = routing.link(name)?.index ?? 0;
      undo.defer(() => routing.remove(index));
      routing.setAlias(index, this.#owner.slice(0, 250));
      const filter = new BridgeFilter(nftables, name);
      filter.destroy();
      filter.make();
      undo.defer(() => void filter.destroy());
      withoutIpv6(name);
      routing.addAddress(index, bytesOf(gateway), subnet.bits);
      routing.raise(index);
      undo.move();
      return { index, mtu, routing, nftables, filter, sockets };
    } catch (error) {
      const cure = error instanceof Failure && ["EOPNOTSUPP", "ENODEV", "EPROTONOSUPPORT"].includes(error.errno ?? "")
        ? ": want a kernel with bridge, veth and nf_tables (modprobe bridge veth nf_tables nft_chain_nat nft_masq)"
        : "";
      throw new Failure(codeOf(error), `cannot make network "bridge": ${messageOf(error)}${cure}`, { cause: error });
    }
  }

  /** Removes the bridge some time behind its last user's end. */
  #rest(): void {
    if (this.#leases.size > 0) return;
    clearTimeout(this.#idle);
    this.#idle = setTimeout(() => this.#leases.size === 0 && this.#close(), idleMs);
    this.#idle.unref?.();
  }

  #close(): void {
    clearTimeout(this.#idle);
    const open = this.#open;
    this.#open = undefined;
    if (open === undefined) return;
    using _held = closing(open);
    open.routing.remove(open.index);
    open.filter.destroy();
  }
}

function closing({ routing, nftables, sockets }: Open): Disposable {
  return {
    [Symbol.dispose]() {
      routing[Symbol.dispose]();
      nftables[Symbol.dispose]();
      sockets[Symbol.dispose]();
    },
  };
}

function taken({ name, alias }: Link): Failure {
  const whose = alias === "" ? "somebody else's" : JSON.stringify(alias);
  return new Failure(
    "failed_precondition",
    `interface ${JSON.stringify(name)} is ${whose}: choose another name, as with --plugins ` +
      `'{"network/bridge": {"name": "mayfly1", "subnet": "10.90.0.0/16"}}', or remove it (ip link delete ${name})`,
  );
}

function full(name: string, cause: Failure): Failure {
  const message = `no more containers fit on bridge ${
    JSON.stringify(name)
  }: it has 1,023, as many as the kernel lets one have`;
  return new Failure("resource_exhausted", message, { cause });
}

function openNftables(kernel: Kernel): Nftables | undefined {
  try {
    return Nftables.open(kernel);
  } catch {
    // Where there is no packet filter, nothing of it was left.
    return undefined;
  }
}

const forwarding = "/proc/sys/net/ipv4/ip_forward";

/** Has the machine pass on what is not for itself, as all that have containers reach out do. It stays so. */
function forward(): void {
  if (readFileSync(forwarding, "utf8").trim() === "0") writeFileSync(forwarding, "1");
}

/** The bridge needs none of its own addresses there. */
function withoutIpv6(name: string): void {
  try {
    writeFileSync(`/proc/sys/net/ipv6/conf/${name}/disable_ipv6`, "1");
  } catch {
    // A kernel without IPv6 gives none.
  }
}
