import * as v from "valibot";
import { Failure, messageOf } from "../../src/core/errors.ts";
import type { Plugin } from "../../src/core/plugin.ts";
import type { Runtime } from "../../src/core/runtime.ts";
import { defaultCgroupParent } from "../../src/linux/cgroup/container_path.ts";
import { Cgroups, detectLayout } from "../../src/linux/cgroup/mod.ts";
import { Children } from "../../src/linux/children.ts";
import { Criu } from "../../src/linux/criu.ts";
import { findProgram } from "../../src/linux/find_program.ts";
import { Kernel } from "../../src/linux/kernel.ts";
import { ownIds } from "../../src/linux/own_ids.ts";
import { binaries, type Binary } from "./binaries.ts";
import { OciRuntime } from "./runtime.ts";

const path = v.pipe(v.string(), v.regex(/^(?:\/[\w.@-]+)+$/, "want an absolute path of names"));

const Config = v.strictObject({
  /** The program, as an absolute path. Default: where the machine keeps its programs. */
  program: v.optional(path),
  /**
   * The cgroup below which containers get theirs. It belongs to one daemon: what it finds there at start, it removes.
   * Default `/mayfly-<id>` for the daemon of `/run/mayfly`, and `/mayfly-<hash>-<id>` for one with another folder.
   */
  cgroupParent: v.optional(path),
  /** The program that writes checkpoints and restores them, for a runtime that can. Default: the machine's `criu`. */
  criu: v.optional(v.pipe(path, v.regex(/\/criu$/, "want a program called criu: runtimes look for that name"))),
});

/** Makes the plugin of an OCI runtime with runc's command line. */
export function ociRuntime(binary: Binary): Plugin<Runtime, typeof Config> {
  return {
    kind: "runtime",
    id: binary.id,
    contract: 1,
    config: Config,
    probe({ host }) {
      try {
        const kernel = new Kernel(host);
        if (kernel.call("geteuid") !== 0) {
          return { available: false, reason: "it makes namespaces and mounts: run the daemon as root" };
        }
        if (!ownIds(kernel).all) {
          return { available: false, reason: "the daemon runs as an ordinary user: use the runtime native" };
        }
        if (host.arch !== "x64") {
          return { available: false, reason: "its containers' keeper is x86-64 code: use the runtime native" };
        }
        const program = findProgram(kernel, binary.program);
        if (program === undefined) {
          return { available: false, reason: `${binary.program} is not on this machine: ${binary.cure}` };
        }
        detectLayout(kernel);
        return { available: true, note: program };
      } catch (error) {
        return { available: false, reason: messageOf(error) };
      }
    },
    create({ host, run, config }) {
      const kernel = new Kernel(host);
      const children = new Children(kernel);
      const program = findProgram(kernel, config.program ?? binary.program);
      if (program === undefined) {
        throw new Failure(
          "failed_precondition",
          `cannot find the program ${JSON.stringify(config.program ?? binary.program)}: ${binary.cure}`,
        );
      }
      return new OciRuntime({
        id: binary.id,
        program,
        lacks: binary.lacks ?? [],
        kernel,
        children,
        criu: new Criu(kernel, children, config.criu),
        cgroups: new Cgroups(kernel, detectLayout(kernel)),
        folder: `${run}/oci/${binary.id}`,
        cgroupParent: config.cgroupParent ?? `${defaultCgroupParent(run)}-${binary.id}`,
      });
    },
  };
}

export const crun = ociRuntime(binaries.crun);
export const runc = ociRuntime(binaries.runc);
export const youki = ociRuntime(binaries.youki);
export const runsc = ociRuntime(binaries.runsc);
