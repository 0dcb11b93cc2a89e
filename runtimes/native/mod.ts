import * as v from "valibot";
import type { Plugin } from "../../src/core/plugin.ts";
import { messageOf } from "../../src/core/errors.ts";
import type { Runtime } from "../../src/core/runtime.ts";
import { Cgroups, detectLayout } from "../../src/linux/cgroup/mod.ts";
import { defaultCgroupParent } from "../../src/linux/cgroup/container_path.ts";
import { enterLeaf } from "../../src/linux/cgroup/delegated.ts";
import { Children } from "../../src/linux/children.ts";
import { errno } from "../../src/linux/errno.ts";
import { Kernel } from "../../src/linux/kernel.ts";
import { ownIds } from "../../src/linux/own_ids.ts";
import { Criu } from "../../src/linux/criu.ts";
import { whyNoOwnUsers } from "./id_mapping.ts";
import { NativeRuntime } from "./runtime.ts";

const Config = v.strictObject({
  /**
   * The cgroup below which containers get theirs. It belongs to one daemon: what it finds there at start, it removes.
   * Default `/mayfly` for the daemon of `/run/mayfly`, and `/mayfly-<hash>` for one with another folder.
   */
  cgroupParent: v.optional(v.pipe(v.string(), v.regex(/^(?:\/[\w.@-]+)+$/, "want an absolute path of names"))),
  /** The program that writes checkpoints and restores them. Default: the machine's `criu`. */
  criu: v.optional(v.pipe(v.string(), v.regex(/^\//, "want an absolute path"))),
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
      const missing = {
        "--userns auto": await whyNoOwnUsers(kernel, root),
        "checkpoints by the machine's own criu": await whyNoCheckpoints(kernel),
      };
      const notes = Object.entries(missing).flatMap(([what, why]) => why === undefined ? [] : [`no ${what}: ${why}`]);
      return notes.length === 0 ? { available: true } : { available: true, note: notes.join("; ") };
    } catch (error) {
      return { available: false, reason: messageOf(error) };
    }
  },
  create({ host, run, config, log }) {
    const kernel = new Kernel(host);
    const children = new Children(kernel);
    const layout = detectLayout(kernel);
    if (layout.delegated === true) { for (const { path } of layout.hierarchies) enterLeaf(kernel, path); }
    return new NativeRuntime({
      kernel,
      children,
      criu: new Criu(kernel, children, config.criu),
      cgroups: new Cgroups(kernel, layout),
      folder: `${run}/rootfs`,
      log,
      cgroupParent: config.cgroupParent ?? defaultCgroupParent(run),
    });
  },
};

async function whyNoCheckpoints(kernel: Kernel): Promise<string | undefined> {
  const children = new Children(kernel);
  try {
    return await new Criu(kernel, children).missing();
  } finally {
    children.close();
  }
}

/** What an ordinary user's daemon goes without. */
function lost(kernel: Kernel): string {
  const { find } = detectLayout(kernel);
  const limits = ["memory", "cpu", "pids"].filter((controller) => find(controller) === undefined);
  const without = limits.length === 0 ? "" : `no limits of ${limits.join(", ")}; `;
  return `${without}no --userns auto, no checkpoints: the daemon runs as an ordinary user`;
}
