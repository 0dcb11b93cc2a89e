import { Failure } from "../../src/core/errors.ts";
import type { Exit, Measures, Task, TaskStats, TaskStatus } from "../../src/core/task.ts";
import type { NewTaskEvent } from "../../src/core/task_events.ts";
import type { Cgroup, CgroupStats } from "../../src/linux/cgroup/mod.ts";
import type { ChildExit, Children } from "../../src/linux/children.ts";
import { errno } from "../../src/linux/errno.ts";
import { SIGKILL } from "../../src/linux/flags.ts";
import type { Kernel } from "../../src/linux/kernel.ts";
import { syscallFailure } from "../../src/linux/syscall_failure.ts";
import type { Pipes } from "../../src/linux/stdio_pipes.ts";

/** What a task is made of. It owns all of it. */
export interface TaskParts {
  readonly id: string;
  readonly kernel: Kernel;
  readonly children: Children;
  readonly cgroup: Cgroup;
  readonly pipes: Pipes;
  /** Whether the end of init ends all of the container: it has a pid namespace of its own. */
  readonly initIsLast: boolean;
  /** Makes the child. @throws the failing step's error. */
  readonly spawn: () => { readonly pid: number; readonly pidfd: number };
  /** Keeps the cgroup for another container. @returns false where it has to be removed. */
  readonly keepCgroup: (stats: CgroupStats) => boolean;
  readonly publish: (event: NewTaskEvent) => void;
  /** Called when everything is removed. */
  readonly onDelete: () => void;
}

/** A container that this process launched. */
export class NativeTask implements Task, Measures {
  readonly id: string;
  readonly #parts: TaskParts;
  readonly #exit = Promise.withResolvers<Exit>();
  #status: TaskStatus = "created";
  #pid: number | undefined;
  #pidfd: number | undefined;
  /** The cgroup's numbers when init had ended. */
  #stats: CgroupStats | undefined;
  #deleted: Promise<Exit | undefined> | undefined;

  constructor(parts: TaskParts) {
    this.id = parts.id;
    this.#parts = parts;
    // Nobody has to wait for a task.
    this.#exit.promise.catch(() => {});
  }

  get status(): TaskStatus {
    return this.#status;
  }

  get pid(): number | undefined {
    return this.#pid;
  }

  get stdin(): WritableStream<Uint8Array> | undefined {
    return this.#parts.pipes.stdin;
  }

  get stdout(): ReadableStream<Uint8Array<ArrayBuffer>> | undefined {
    return this.#parts.pipes.stdout;
  }

  get stderr(): ReadableStream<Uint8Array<ArrayBuffer>> | undefined {
    return this.#parts.pipes.stderr;
  }

  async start(): Promise<void> {
    if (this.#status !== "created" || this.#deleted !== undefined) {
      throw this.#wrongState("start", this.#deleted === undefined ? this.#status : "deleted");
    }
    const { spawn, pipes, children } = this.#parts;
    try {
      const { pid, pidfd } = spawn();
      this.#pid = pid;
      this.#pidfd = pidfd;
      this.#status = "running";
      this.#parts.publish({ type: "start", id: this.id, pid });
    } catch (error) {
      this.#status = "stopped";
      this.#exit.reject(error);
      throw error;
    } finally {
      pipes.release();
    }
    children.wait(this.#pidfd).then((ended) => this.#ended(ended), (error) => this.#exit.reject(error));
  }

  wait(): Promise<Exit> {
    return this.#exit.promise;
  }

  async kill(signal = SIGKILL, options: { readonly all?: boolean } = {}): Promise<void> {
    if (this.#status === "created") throw this.#wrongState("signal", "created");
    if (this.#pidfd === undefined) return;
    if (options.all === true) {
      for (const pid of this.#parts.cgroup.pids()) this.#parts.kernel.attempt("kill", pid, signal);
      return;
    }
    const result = this.#parts.kernel.attempt("pidfd_send_signal", this.#pidfd, signal, 0, 0);
    if (result < 0 && result !== -errno.ESRCH) {
      throw syscallFailure(
        `cannot send signal ${signal} to container ${JSON.stringify(this.id)}`,
        "pidfd_send_signal",
        result,
      );
    }
  }

  async stats(): Promise<TaskStats> {
    if (this.#status !== "running") throw this.#wrongState("read the resources of", this.#status);
    const { oomKills: _, ...stats } = this.#parts.cgroup.stats();
    return stats;
  }

  async pids(): Promise<readonly number[]> {
    if (this.#status !== "running") throw this.#wrongState("list the processes of", this.#status);
    return [...this.#parts.cgroup.pids()];
  }

  delete(): Promise<Exit | undefined> {
    return this.#deleted ??= this.#delete();
  }

  async #delete(): Promise<Exit | undefined> {
    const { cgroup, pipes, initIsLast, keepCgroup, onDelete } = this.#parts;
    let exit: Exit | undefined;
    try {
      if (this.#pid !== undefined) {
        await this.kill();
        exit = await this.#exit.promise;
      } else {
        this.#status = "stopped";
        this.#exit.reject(
          new Failure(
            "failed_precondition",
            `cannot wait for container ${JSON.stringify(this.id)}: it was never started`,
          ),
        );
      }
    } finally {
      pipes.close();
      if (!initIsLast) await cgroup.kill();
      const kept = this.#stats !== undefined && keepCgroup(this.#stats);
      if (!kept && !cgroup.tryRemove()) await cgroup.remove();
      onDelete();
      this.#parts.publish({ type: "delete", id: this.id, exit });
    }
    return exit;
  }

  #ended({ code, signal }: ChildExit): void {
    const { cgroup, kernel, pipes } = this.#parts;
    this.#status = "stopped";
    pipes.end();
    if (this.#pidfd !== undefined) kernel.attempt("close", this.#pidfd);
    this.#pidfd = undefined;
    try {
      this.#stats = cgroup.stats();
      const { oomKills, ...usage } = this.#stats;
      const exit = { code, signal, exitedAt: new Date(), oomKilled: oomKills > 0, usage };
      const { id } = this;
      if (exit.oomKilled) this.#parts.publish({ type: "oom", id });
      this.#parts.publish({ type: "exit", id, pid: this.#pid, exit: { code, signal, exitedAt: exit.exitedAt } });
      this.#exit.resolve(exit);
    } catch (error) {
      this.#exit.reject(error);
    }
  }

  #wrongState(action: string, state: string): Failure {
    return new Failure("failed_precondition", `cannot ${action} container ${JSON.stringify(this.id)}: it is ${state}`, {
      details: { id: this.id, status: state },
    });
  }
}
