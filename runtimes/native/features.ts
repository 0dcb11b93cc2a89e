import type { Features } from "../../src/core/features.ts";
import type { Host } from "../../src/core/host.ts";
import { mountOptionNames } from "../../src/linux/mount/options.ts";
import { seccompFeatures } from "../../src/linux/seccomp.ts";
import { capabilityNames } from "./capabilities.ts";
import { allTurns } from "./hooks.ts";
import { cloneFlags } from "./namespaces.ts";
import { isUnsupported } from "./unsupported.ts";

/** What the native runtime can do, whatever this machine's kernel can. */
export function nativeFeatures(arch: Host["arch"]): Features {
  return {
    hooks: [...allTurns],
    mountOptions: [...mountOptionNames],
    linux: {
      namespaces: Object.keys(cloneFlags).sort(),
      capabilities: [...capabilityNames],
      // `--systemd-cgroup` takes the paths' form, and asks no systemd for anything.
      cgroup: { v1: true, v2: true, systemd: false, systemdUser: false, rdma: true },
      seccomp: { enabled: true, ...seccompFeatures(arch) },
      apparmor: { enabled: true },
      selinux: { enabled: true },
      intelRdt: { enabled: !isUnsupported("linux.intelRdt") },
      mountExtensions: { idmap: { enabled: true } },
    },
  };
}
