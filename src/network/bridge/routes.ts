import { readFileSync } from "node:fs";
import { Failure } from "../../core/errors.ts";
import { formatIpv4, overlap, type Subnet } from "../ipv4.ts";

interface Route {
  readonly interface: string;
  readonly to: Subnet;
}

/** @throws failed_precondition where the machine sends some of a subnet's addresses elsewhere. */
export function checkSubnet(subnet: Subnet): void {
  const other = routes().find(({ to }) => to.bits > 0 && overlap(to, subnet));
  if (other === undefined) return;
  throw new Failure(
    "failed_precondition",
    `${show(subnet)} is not free: the machine has ${show(other.to)} on ${other.interface}: choose another subnet, as ` +
      `with --plugins '{"network/bridge": {"subnet": "10.90.0.0/16"}}'`,
  );
}

const usualMtu = 1500;

/** What a packet may be long that leaves the machine. */
export function uplinkMtu(): number {
  const uplink = routes().find(({ to }) => to.bits === 0);
  return uplink === undefined
    ? usualMtu
    : Math.min(usualMtu, Number(readFileSync(`/sys/class/net/${uplink.interface}/mtu`, "utf8")) || usualMtu);
}

/** @see https://man7.org/linux/man-pages/man5/proc_pid_net.5.html */
function routes(): readonly Route[] {
  return readFileSync("/proc/net/route", "utf8").split("\n").slice(1).flatMap((line) => {
    const [name, destination, , , , , , mask] = line.split("\t");
    if (name === undefined || destination === undefined || mask === undefined) return [];
    const bits = parseInt(mask, 16).toString(2).replaceAll("0", "").length;
    return [{ interface: name, to: { first: swapped(destination), bits } }];
  });
}

/** The kernel writes the address as this processor's number. */
function swapped(hex: string): number {
  return parseInt((hex.match(/../g) ?? []).reverse().join(""), 16);
}

function show({ first, bits }: Subnet): string {
  return `${formatIpv4(first)}/${bits}`;
}
