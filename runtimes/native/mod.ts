import * as v from "valibot";
import type { Plugin } from "../../src/core/plugin.ts";
import { messageOf } from "../../src/core/errors.ts";
import type { Runtime } from "../../src/core/runtime.ts";
import { Cgroups, detectLayout } from "../../src/linux/cgroup/mod.ts";
import { defaultCgroupParent } from "../../src/linux/cgroup/container_path.ts";
import { Children } from "../../src/linux/children.ts";
import { errno } from "../../src/linux/errno.ts";
import { Kernel } from "../../src/linux/kernel.ts";
import { ownIds } from "../../src/linux/own_ids.ts";
import { whyNoOwnUsers } from "./id_mapping.ts";
import { NativeRuntime } from "./runtime.ts";

const Config = v.strictObject({
  /**
   * The cgroup below which containers get theirs. It belongs to one daemon: what it finds there at start, it removes.
   * Default `/mayfly` for the daemon of `/run/mayfly`, and `/mayfly-<hash>` for one with another folder.
   */
  cgroupParent: v.optional(v.pipe(v.string(), v.regex(/^(?:\/[\w.@-]+)+$/, "want an absolute path of names"))),
});

/** The native runtime: containers by system calls alone, with no helper program. */
export const native: Plugin<Runtime, typeof Config> = {
  kind: "runtime",
  id: "native",
  contract: 1,
  config: Config,
  async probe({ host, root }) {
    try {
      const kernel = new Kernel(host);
      if (kernel.call("geteuid") !== 0) {
        return { available: false, reason: "it makes namespaces and mounts: run the daemon as root" };
      }
      // mount_setattr (Linux 5.12) is the newest call that a launch makes.
      if (kernel.attempt("mount_setattr", -1, "", 0, [0, 0, 0, 0], 32) === -errno.ENOSYS) {
        return { available: false, reason: "this kernel is too old: want Linux 5.12 or newer" };
      }
      detectLayout(kernel);
      if (!ownIds(kernel).all) return { available: true, note: lost(kernel) };
      const missing = await whyNoOwnUsers(kernel, root);
      return missing === undefined ? { available: true } : { available: true, note: `no --userns auto: ${missing}` };
    } catch (error) {
      return { available: false, reason: messageOf(error) };
    }
  },
  create({ host, run, config, log }) {
    const kernel = new Kernel(host);
    return new NativeRuntime({
      kernel,
      children: new Children(kernel),
      cgroups: new Cgroups(kernel, detectLayout(kernel)),
      folder: `${run}/rootfs`,
      log,
      cgroupParent: config.cgroupParent ?? defaultCgroupParent(run),
    });
  },
};

/** What an ordinary user's daemon goes without. */
function lost(kernel: Kernel): string {
  const limits = detectLayout(kernel).hierarchies.length === 0 ? "no limits of memory, processors and processes; " : "";
  return `${limits}no --userns auto: the daemon runs as an ordinary user`;
}
