import { defaultCapabilities } from "../tasks/capabilities.ts";
import { defaultMounts, defaultPath, defaultRlimits, maskedPaths, readonlyPaths } from "../tasks/spec_defaults.ts";
import { ociVersion } from "./document.ts";

/**
 * The configuration to begin with: a shell in a terminal, closed off as a container is.
 * @param options.rootless what an ordinary user can have: terminals are of no group.
 */
export function defaultSpec({ rootless = false }: { readonly rootless?: boolean } = {}): object {
  const capabilities = defaultCapabilities;
  return {
    ociVersion,
    process: {
      terminal: true,
      user: { uid: 0, gid: 0 },
      args: ["sh"],
      env: [`PATH=${defaultPath}`, "TERM=xterm"],
      cwd: "/",
      capabilities: { bounding: capabilities, effective: capabilities, permitted: capabilities },
      rlimits: defaultRlimits,
      noNewPrivileges: true,
    },
    root: { path: "rootfs", readonly: true },
    hostname: "mayfly",
    mounts: defaultMounts.map((mount) =>
      rootless ? { ...mount, options: mount.options?.filter((option) => !option.startsWith("gid=")) } : mount
    ),
    linux: {
      resources: { devices: [{ allow: false, access: "rwm" }] },
      namespaces: ["pid", "network", "ipc", "uts", "mount", "cgroup"].map((type) => ({ type })),
      maskedPaths,
      readonlyPaths,
    },
  };
}
