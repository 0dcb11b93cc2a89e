import type { Kernel } from "../kernel.ts";
import { attachDeviceFilter, loadDeviceFilter } from "./device_filter.ts";
import type { DeviceRule } from "./devices.ts";

/** How many programs are kept open: containers of one machine have few different rules. */
const most = 16;

/**
 * The programs that say which devices a cgroup of version 2 may use, each loaded once for all cgroups with its rules.
 *
 * A descriptor is held for the programs used last, and closed when others take its place, or at the end. The kernel keeps a
 * program for as long as a cgroup has it, so that closing it here takes nothing from a container.
 */
export class DeviceFilters implements Disposable {
  readonly #kernel: Kernel;
  /** Descriptors by rules; the one used last is at the end. */
  readonly #programs = new Map<string, number>();

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
  }

  /** Loads the program for some rules, unless it is there. @throws failed_precondition where the kernel refuses it. */
  load(rules: readonly DeviceRule[]): number {
    const key = rules.map(({ allow, text }) => `${allow ? "allow" : "deny"} ${text}`).join("\n");
    const program = this.#programs.get(key) ?? loadDeviceFilter(this.#kernel, rules);
    this.#programs.delete(key);
    this.#programs.set(key, program);
    for (const [oldest, fd] of this.#programs) {
      if (this.#programs.size <= most) break;
      this.#programs.delete(oldest);
      this.#kernel.attempt("close", fd);
    }
    return program;
  }

  /** Puts the program for some rules on a cgroup. @throws as `load`. */
  attach(folder: string, rules: readonly DeviceRule[]): void {
    attachDeviceFilter(this.#kernel, folder, this.load(rules));
  }

  [Symbol.dispose](): void {
    for (const fd of this.#programs.values()) this.#kernel.attempt("close", fd);
    this.#programs.clear();
  }
}
