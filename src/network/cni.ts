import { join } from "node:path";
import * as v from "valibot";
import type { Network } from "../core/network.ts";
import type { Plugin } from "../core/plugin.ts";
import { Kernel } from "../linux/kernel.ts";
import { CniNetwork } from "./cni/network.ts";

const folder = v.pipe(v.string(), v.startsWith("/"), v.maxLength(4096));

const ConfigSchema = v.optional(
  v.strictObject({
    /** Where the network configurations are: `*.conflist`, `*.conf` and `*.json`. */
    configurations: v.optional(folder, "/etc/cni/net.d"),
    /** Where the plugins' programs are; the first that has one counts. */
    programs: v.optional(v.pipe(v.array(folder), v.minLength(1), v.maxLength(16)), ["/opt/cni/bin", "/usr/lib/cni"]),
    /** How long one call of a plugin may take. */
    timeoutMs: v.optional(v.pipe(v.number(), v.safeInteger(), v.minValue(1), v.maxValue(600_000)), 30_000),
  }),
  {},
);

/** Networks of the machine's administrator, by the Container Network Interface: `cni:NAME`. */
export const cni: Plugin<Network, typeof ConfigSchema> = {
  kind: "network",
  id: "cni",
  contract: 1,
  config: ConfigSchema,
  create: ({ host, root, run, config }) =>
    new CniNetwork({
      kernel: new Kernel(host),
      records: join(root, "network/cni"),
      files: join(run, "network/cni"),
      ...config,
    }),
};
