import { chmodSync, chownSync, existsSync, mkdirSync, renameSync, rmdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { SpecMount } from "../core/spec.ts";
import { errno } from "../linux/errno.ts";
import { MS_NODEV, MS_NOEXEC, MS_NOSUID } from "../linux/flags.ts";
import type { Kernel } from "../linux/kernel.ts";
import { unmountAll } from "../linux/mount/unmount.ts";
import { syscallFailure } from "../linux/syscall_failure.ts";

/** Where containers find their secrets: Docker's place, and the one that images for OpenFaaS look in. */
export const secretTargets: readonly string[] = ["/run/secrets", "/var/openfaas/secrets"];

/** The secrets of some containers, as files that are nobody's but their user's. */
export interface SecretFolder extends Disposable {
  /** What shows them in a container; runtimes need to know nothing else. */
  readonly mounts: readonly SpecMount[];
  /** Puts another value in the place of one: who has the file open goes on with the old one. */
  write(name: string, value: Uint8Array): void;
}

/**
 * Secrets in clear, in a filesystem in memory that is never swapped out, where the kernel can promise that (Linux 6.4): it is
 * mounted when the first one is wanted, and goes with the daemon. Containers get their folder of it by a bind mount, which
 * every runtime can make, however early the container is prepared.
 */
export class SecretFolders implements Disposable {
  readonly #kernel: Kernel;
  readonly #path: string;
  #mounted = false;
  #made = 0;

  /** Removes what a process that was killed has left. @param path where it is mounted; its parent is there. */
  constructor(kernel: Kernel, path: string) {
    this.#kernel = kernel;
    this.#path = path;
    this.#remove();
  }

  /** @param owner ids of the host that the containers' user has. */
  make(
    files: ReadonlyMap<string, Uint8Array>,
    owner: { readonly uid: number; readonly gid: number },
  ): SecretFolder {
    this.#mount();
    const path = join(this.#path, String(++this.#made));
    mkdirSync(path, { mode: 0o700 });
    const write = (name: string, value: Uint8Array) => {
      // No secret's name begins with a dot.
      const partial = join(path, `.${name}`);
      try {
        writeFileSync(partial, value, { mode: 0o400, flag: "wx" });
        chownSync(partial, owner.uid, owner.gid);
        renameSync(partial, join(path, name));
      } catch (error) {
        rmSync(partial, { force: true });
        throw error;
      }
    };
    try {
      for (const [name, value] of files) write(name, value);
      chownSync(path, owner.uid, owner.gid);
      chmodSync(path, 0o500);
    } catch (error) {
      rmSync(path, { recursive: true, force: true });
      throw error;
    }
    const options = ["bind", "ro", "nosuid", "nodev", "noexec", "private"];
    return {
      mounts: secretTargets.map((destination) => ({ destination, type: "bind", source: path, options })),
      write,
      [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }),
    };
  }

  [Symbol.dispose](): void {
    this.#remove();
  }

  #mount(): void {
    if (this.#mounted) return;
    mkdirSync(this.#path, { mode: 0o700 });
    const flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
    const mount = (data: string) => this.#kernel.attempt("mount", "tmpfs", this.#path, "tmpfs", flags, data);
    let result = mount("mode=700,noswap");
    // An older kernel, or a user's daemon.
    if (result === -errno.EINVAL) result = mount("mode=700");
    if (result < 0) {
      rmdirSync(this.#path);
      throw syscallFailure(`cannot mount a filesystem for secrets on ${JSON.stringify(this.#path)}`, "mount", result);
    }
    this.#mounted = true;
  }

  #remove(): void {
    this.#mounted = false;
    if (!existsSync(this.#path)) return;
    unmountAll(this.#kernel, this.#path);
    rmdirSync(this.#path);
  }
}
