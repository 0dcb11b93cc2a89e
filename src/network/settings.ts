import { Failure } from "../core/errors.ts";
import type { NetworkSettings } from "../core/network.ts";

/**
 * Refuses what has no meaning on a network that connects to nothing, or to all: what is asked for is not to be dropped.
 * @throws invalid_argument.
 */
export function refuseSettings(id: string, settings: NetworkSettings | undefined): void {
  if (settings === undefined) return;
  const { network, egress, dns, extraHosts } = settings;
  if (network !== id) {
    throw wrong("network", `network ${JSON.stringify(network)}`, `${id} takes nothing behind a colon`);
  }
  if (egress) throw wrong("egress", "egress", `network ${JSON.stringify(id)} has none of its own`);
  if (dns.length > 0) throw wrong("dns", "dns", `network ${JSON.stringify(id)} has no nameservers of its own`);
  if (extraHosts.length > 0) {
    throw wrong("extraHosts", "extraHosts", `network ${JSON.stringify(id)} has no /etc/hosts of its own`);
  }
}

function wrong(field: string, what: string, why: string): Failure {
  return new Failure("invalid_argument", `cannot use ${what}: ${why}, choose network "bridge"`, { details: { field } });
}
