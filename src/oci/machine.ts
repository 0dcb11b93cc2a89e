import type { Host } from "../core/host.ts";
import { Cgroups, detectLayout } from "../linux/cgroup/mod.ts";
import { Children } from "../linux/children.ts";
import { Kernel } from "../linux/kernel.ts";

/** The kernel of this machine, for commands that ask more of it than files. */
export class Machine {
  readonly host: Host;
  readonly kernel: Kernel;
  readonly children: Children;
  #cgroups: Cgroups | undefined;

  constructor(host: Host) {
    this.host = host;
    this.kernel = new Kernel(host);
    this.children = new Children(this.kernel);
  }

  get cgroups(): Cgroups {
    return this.#cgroups ??= new Cgroups(this.kernel, detectLayout(this.kernel));
  }
}
