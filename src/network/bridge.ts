import * as v from "valibot";
import type { Network } from "../core/network.ts";
import type { Plugin } from "../core/plugin.ts";
import { Kernel } from "../linux/kernel.ts";
import { Bridge } from "./bridge/bridge.ts";
import { parseSubnet, type Subnet } from "./ipv4.ts";

const ConfigSchema = v.optional(
  v.strictObject({
    /** The bridge's name, and that of its nftables tables. Two daemons on a machine need two. */
    name: v.optional(
      v.pipe(v.string(), v.regex(/^[a-zA-Z][a-zA-Z0-9_-]{0,14}$/, "1 to 15 letters, digits, _ and -")),
      "mayfly0",
    ),
    /** Whose addresses containers get; the first of them is the bridge's own. */
    subnet: v.optional(
      v.pipe(
        v.string(),
        v.rawTransform(({ dataset, addIssue, NEVER }): Subnet => {
          const subnet = parseSubnet(dataset.value);
          if (subnet !== undefined && subnet.bits >= 8 && subnet.bits <= 29) return subnet;
          addIssue({ message: "a subnet of IPv4 with a prefix of 8 to 29 bits, as 10.89.0.0/16" });
          return NEVER;
        }),
      ),
      "10.89.0.0/16",
    ),
  }),
  {},
);

/**
 * A network of the daemon's own: each container has an address, by which the machine reaches it. Containers do not reach each
 * other, nor what is beyond the machine unless they ask for egress. IPv4 alone.
 */
export const bridge: Plugin<Network, typeof ConfigSchema> = {
  kind: "network",
  id: "bridge",
  contract: 1,
  config: ConfigSchema,
  create: ({ host, root, run, config }) => new Bridge({ kernel: new Kernel(host), root, run, ...config }),
};
