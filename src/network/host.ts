import { AT_FDCWD, F_OK } from "../linux/flags.ts";
import { Kernel } from "../linux/kernel.ts";
import type { Network } from "../core/network.ts";
import type { Plugin } from "../core/plugin.ts";
import type { Spec, SpecMount } from "../core/spec.ts";
import { refuseSettings } from "./settings.ts";
import { withNetworkNamespace } from "./namespace.ts";

/** What names are looked up in. */
const files = ["/etc/resolv.conf", "/etc/hosts"];

/**
 * The machine's own network: a container sees its interfaces, reaches what listens on its loopback, and can listen itself.
 * As with Docker's host network the capabilities stay what they were, NET_RAW among them: root in such a container can
 * listen to the machine's traffic. It is for those who trust what they run.
 */
export const host: Plugin<Network> = {
  kind: "network",
  id: "host",
  contract: 1,
  create: (context) => {
    const kernel = new Kernel(context.host);
    return {
      id: "host",
      apply: (spec, settings) => {
        refuseSettings("host", settings);
        return applyHost(spec, (path) => exists(kernel, path));
      },
    };
  },
};

function applyHost(spec: Spec, has: (path: string) => boolean): Spec {
  const taken = new Set((spec.mounts ?? []).map(({ destination }) => destination));
  const binds: readonly SpecMount[] = files.filter((path) => !taken.has(path) && has(path)).map((path) => ({
    destination: path,
    type: "bind",
    source: path,
    options: ["rbind", "ro", "nosuid", "nodev", "noexec"],
  }));
  const shared = withNetworkNamespace(spec, false);
  return { ...shared, mounts: [...shared.mounts ?? [], ...binds] };
}

function exists(kernel: Kernel, path: string): boolean {
  return kernel.attempt("faccessat", AT_FDCWD, path, F_OK) === 0;
}
