import type { Kernel } from "../kernel.ts";
import { Failure } from "../../core/errors.ts";
import { attachDeviceFilter, attachedDeviceFilters, detachDeviceFilter, loadDeviceFilter } from "./device_filter.ts";
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

  /**
   * Puts the program for some rules in the place of the one that a cgroup has. At no moment there is none.
   * @returns what puts the one before back, and is to be disposed of in any case.
   * @throws as `load`; failed_precondition where there are programs of others beside it.
   */
  replace(folder: string, rules: readonly DeviceRule[]): Disposable & { undo(): void } {
    const program = this.load(rules);
    const held = new DisposableStack();
    const before = attachedDeviceFilters(this.#kernel, folder);
    for (const fd of before) held.defer(() => void this.#kernel.attempt("close", fd));
    try {
      if (before.length > 1) {
        throw new Failure(
          "failed_precondition",
          `cannot change linux.resources.devices: cgroup ${
            JSON.stringify(folder)
          } has ${before.length} programs about ` +
            "devices, and one of them is this runtime's: take the others away",
          { details: { field: "linux.resources.devices" } },
        );
      }
      const [own] = before;
      attachDeviceFilter(this.#kernel, folder, program, own);
      const undo = () => {
        if (own === undefined) detachDeviceFilter(this.#kernel, folder, program);
        else attachDeviceFilter(this.#kernel, folder, own, program);
      };
      return { undo, [Symbol.dispose]: () => held.dispose() };
    } catch (error) {
      held.dispose();
      throw error;
    }
  }

  [Symbol.dispose](): void {
    for (const fd of this.#programs.values()) this.#kernel.attempt("close", fd);
    this.#programs.clear();
  }
}
