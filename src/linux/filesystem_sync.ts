import { Children } from "./children.ts";
import { AT_FDCWD, O_CLOEXEC, O_DIRECTORY, O_RDONLY } from "./flags.ts";
import type { Kernel } from "./kernel.ts";
import type { Stage } from "./stage.ts";
import { Stages } from "./stages.ts";
import { syscallFailure } from "./syscall_failure.ts";

/** The folder's descriptor in the process that syncs it. */
const folderThere = 3;

/**
 * Writes what filesystems still hold in memory to their disks, so that a power cut loses none of it.
 *
 * That may take seconds, which processes of their own wait for: no host has a call for it, and this thread has other work.
 * @see https://man7.org/linux/man-pages/man2/syncfs.2.html
 */
export class FilesystemSync implements Disposable {
  readonly #kernel: Kernel;
  readonly #children: Children;
  readonly #stages: Stages;

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
    this.#children = new Children(kernel);
    this.#stages = new Stages(kernel, this.#children);
  }

  /**
   * Resolves when all that was written to a filesystem before this call is on its disk.
   * @param path a folder on it.
   * @throws what an errno of syncfs stands for: data_loss where the disk has failed, resource_exhausted where it is full.
   */
  async sync(path: string): Promise<void> {
    const folder = this.#kernel.call("openat", AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    try {
      const result = await this.#inProcess(folder) ?? this.#kernel.attempt("syncfs", folder);
      if (result < 0) throw syscallFailure(`cannot write ${JSON.stringify(path)} to its disk`, "syncfs", result);
    } finally {
      this.#kernel.attempt("close", folder);
    }
  }

  [Symbol.dispose](): void {
    this.#stages[Symbol.dispose]();
    this.#children.close();
  }

  /** @returns what syncfs returned; undefined where there was no process for it. */
  async #inProcess(folder: number): Promise<number | undefined> {
    let stage: Stage;
    try {
      stage = this.#stages.spawn(new Map([[0, null], [1, null], [2, null], [folderThere, folder]]));
    } catch {
      // Where files in memory may not be executed this thread has to wait itself.
      return undefined;
    }
    try {
      stage.begin([
        { syscall: "syncfs", args: [folderThere], store: "result", onError: "ignore", why: "write it to its disk" },
        { syscall: "exit_group", args: [{ ref: "result" }], why: "tell of it" },
      ]);
      const { code, signal } = await this.#children.wait(stage.process.pidfd);
      // The code is the low byte of -errno.
      return signal === undefined ? (code === 0 ? 0 : code - 256) : undefined;
    } finally {
      const { pidfd } = stage.release();
      await stage.abandon();
      this.#kernel.attempt("close", pidfd);
    }
  }
}
