import type { Network } from "../core/network.ts";
import type { Plugin } from "../core/plugin.ts";
import { refuseSettings } from "./settings.ts";
import { withNetworkNamespace } from "./namespace.ts";

/** A network namespace of its own, in which nothing is but loopback; the runtime brings that up. */
export const none: Plugin<Network> = {
  kind: "network",
  id: "none",
  contract: 1,
  create: () => ({
    id: "none",
    apply: (spec, settings) => {
      refuseSettings("none", settings);
      return withNetworkNamespace(spec, true);
    },
  }),
};
