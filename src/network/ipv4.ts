/** An IPv4 address as its 32 bits. */
export type Ipv4 = number;

/** A part of all addresses: those whose first `bits` bits are those of `first`. */
export interface Subnet {
  readonly first: Ipv4;
  readonly bits: number;
}

/** @returns undefined for what is no address. */
export function parseIpv4(text: string): Ipv4 | undefined {
  const parts = text.split(".");
  if (parts.length !== 4 || !parts.every((part) => /^(?:0|[1-9]\d{0,2})$/.test(part) && Number(part) < 256)) {
    return undefined;
  }
  return parts.reduce((all, part) => all * 256 + Number(part), 0);
}

export function formatIpv4(address: Ipv4): string {
  return bytesOf(address).join(".");
}

/** In the network's order. */
export function bytesOf(address: Ipv4): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, address);
  return bytes;
}

/** `10.89.0.0/16` @returns undefined for what is none, or has bits behind its prefix. */
export function parseSubnet(text: string): Subnet | undefined {
  const [address = "", bits = ""] = text.split("/");
  const first = parseIpv4(address);
  if (first === undefined || !/^\d{1,2}$/.test(bits) || Number(bits) > 32) return undefined;
  const subnet = { first, bits: Number(bits) };
  return first % sizeOf(subnet) === 0 ? subnet : undefined;
}

/** How many addresses it has. */
export function sizeOf({ bits }: Pick<Subnet, "bits">): number {
  return 2 ** (32 - bits);
}

export function overlap(one: Subnet, other: Subnet): boolean {
  return one.first < other.first + sizeOf(other) && other.first < one.first + sizeOf(one);
}
