import { Failure } from "../../core/errors.ts";
import { formatIpv4, type Ipv4, sizeOf, type Subnet } from "../ipv4.ts";

/**
 * Who has which address of a subnet. The first is the gateway's. One that was given back is given again as late as can be,
 * so that what is still on its way to the one who had it reaches nobody else.
 */
export class Leases {
  readonly subnet: Subnet;
  readonly #taken = new Set<Ipv4>();
  #next: Ipv4;

  constructor(subnet: Subnet) {
    this.subnet = subnet;
    this.#next = this.gateway + 1;
  }

  get gateway(): Ipv4 {
    return this.subnet.first + 1;
  }

  get size(): number {
    return this.#taken.size;
  }

  /** @throws resource_exhausted. */
  take(): Ipv4 {
    const [first, last] = [this.gateway + 1, this.subnet.first + sizeOf(this.subnet) - 2];
    if (this.#taken.size >= last - first + 1) {
      const { first, bits } = this.subnet;
      throw new Failure(
        "resource_exhausted",
        `no address is left in ${formatIpv4(first)}/${bits}: ${this.#taken.size} containers have one: ` +
          "want a larger subnet of network/bridge",
      );
    }
    while (this.#taken.has(this.#next)) this.#advance(first, last);
    const address = this.#next;
    this.#taken.add(address);
    this.#advance(first, last);
    return address;
  }

  giveBack(address: Ipv4): void {
    this.#taken.delete(address);
  }

  #advance(first: Ipv4, last: Ipv4): void {
    this.#next = this.#next >= last ? first : this.#next + 1;
  }
}
