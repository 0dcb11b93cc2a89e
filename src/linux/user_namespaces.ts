import * as f from "./flags.ts";
import type { Kernel } from "./kernel.ts";
import type { Stages } from "./stages.ts";

/**
 * Keeps user namespaces that nobody is in, one for each mapping, for mounts to be seen through. Each is made by a process
 * that is gone when it is there.
 */
export class UserNamespaces implements Disposable {
  readonly #stages: Stages;
  readonly #made = new Map<string, Promise<number>>();

  constructor(stages: Stages) {
    this.#stages = stages;
  }

  /**
   * The descriptor of a user namespace, this object's.
   * @param key tells mappings apart. @param map gives a process's namespace its maps.
   */
  get(key: string, map: (kernel: Kernel, pid: number) => void): Promise<number> {
    let made = this.#made.get(key);
    if (made === undefined) {
      made = this.#make(map);
      this.#made.set(key, made);
      made.catch(() => this.#made.delete(key));
    }
    return made;
  }

  [Symbol.dispose](): void {
    for (const made of this.#made.values()) {
      made.then((fd) => this.#stages.kernel.attempt("close", fd), () => {});
    }
    this.#made.clear();
  }

  async #make(map: (kernel: Kernel, pid: number) => void): Promise<number> {
    const { kernel } = this.#stages;
    const stage = this.#stages.spawn(new Map([[0, null], [1, null], [2, null]]));
    try {
      await stage.run([{ syscall: "unshare", args: [f.CLONE_NEWUSER], why: "make a user namespace" }]);
      const { pid } = stage.process;
      map(kernel, pid);
      return kernel.call("openat", f.AT_FDCWD, `/proc/${pid}/ns/user`, f.O_RDONLY | f.O_CLOEXEC, 0);
    } finally {
      await stage.abandon();
    }
  }
}
