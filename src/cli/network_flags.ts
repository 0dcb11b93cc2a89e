import { Failure } from "../core/errors.ts";
import { type Flag, type FlagValues, text, texts } from "./command.ts";

/** How a container is connected, in Docker's words. */
export const networkFlags: Readonly<Record<string, Flag>> = {
  network: {
    type: "string",
    value: "none|bridge|host|cni:NAME",
    help: "none (default) has only loopback, bridge an address of its own, host the machine's network",
  },
  egress: { type: "boolean", help: "on network bridge: it reaches what is beyond the machine" },
  dns: { type: "string", multiple: true, value: "address", help: "a nameserver, in place of the machine's" },
  "add-host": { type: "string", multiple: true, value: "name:address", help: "one more line of its /etc/hosts" },
  hostname: { type: "string", value: "name", help: "in place of the end of its id" },
};

/** What the flags say, for the daemon to parse. @throws invalid_argument. */
export function networkFields(flags: FlagValues) {
  const [dns, hosts] = [texts(flags, "dns"), texts(flags, "add-host")];
  return {
    network: text(flags, "network"),
    egress: flags["egress"] === true ? true : undefined,
    dns: dns.length === 0 ? undefined : [...dns],
    extraHosts: hosts.length === 0 ? undefined : hosts.map(extraHost),
    hostname: text(flags, "hostname"),
  };
}

/** `name:address`, where an address of IPv6 has colons too. */
function extraHost(given: string) {
  const at = given.indexOf(":");
  if (at > 0) return { name: given.slice(0, at), address: given.slice(at + 1).replace(/^\[(.*)\]$/, "$1") };
  throw new Failure("invalid_argument", `--add-host is ${JSON.stringify(given)}, wanted name:address`);
}
