import * as f from "./flags.ts";
import type { Kernel } from "./kernel.ts";
import type { Stages } from "./stages.ts";

/** How many are kept that nobody holds: each is a descriptor, and one of `user.max_user_namespaces`. */
const mostKept = 64;

interface Kept {
  readonly fd: Promise<number>;
  holders: number;
}

/** The descriptor of a user namespace, which stays open until this is disposed of. */
export interface HeldUserNamespace extends Disposable {
  readonly fd: number;
}

/**
 * Keeps user namespaces that nobody is in, one for each mapping, for mounts to be seen through. Each is made by a process
 * that is gone when it is there. Those that were not used for longest go first.
 */
export class UserNamespaces implements Disposable {
  readonly #stages: Stages;
  readonly #most: number;
  /** The one that was used last is at the end. */
  readonly #kept = new Map<string, Kept>();

  constructor(stages: Stages, most = mostKept) {
    this.#stages = stages;
    this.#most = most;
  }

  /**
   * Makes a user namespace, or finds the one that is there.
   * @param key tells mappings apart. @param map gives a process's namespace its maps.
   */
  async hold(key: string, map: (kernel: Kernel, pid: number) => void): Promise<HeldUserNamespace> {
    const kept = this.#kept.get(key) ?? { fd: this.#make(map), holders: 0 };
    this.#kept.delete(key);
    this.#kept.set(key, kept);
    kept.holders++;
    try {
      const fd = await kept.fd;
      return { fd, [Symbol.dispose]: () => this.#release(kept) };
    } catch (error) {
      if (this.#kept.get(key) === kept) this.#kept.delete(key);
      throw error;
    }
  }

  [Symbol.dispose](): void {
    for (const kept of this.#kept.values()) this.#close(kept);
    this.#kept.clear();
  }

  #release(released: Kept): void {
    released.holders--;
    for (const [key, kept] of this.#kept) {
      if (this.#kept.size <= this.#most) return;
      if (kept.holders > 0) continue;
      this.#kept.delete(key);
      this.#close(kept);
    }
  }

  #close({ fd }: Kept): void {
    fd.then((made) => this.#stages.kernel.attempt("close", made), () => {});
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
