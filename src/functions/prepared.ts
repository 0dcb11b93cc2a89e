import type { FunctionRecord } from "../core/function.ts";
import type { Task } from "../core/task.ts";
import { newContainerId } from "../tasks/container_run.ts";
import type { Tasks } from "../tasks/tasks.ts";
import type { Recipe } from "./recipe.ts";

/** A container that waits for its start. */
export interface Instance {
  readonly id: string;
  readonly task: Task;
  /** Removes all of it. */
  release(): Promise<void>;
}

export interface PreparedParts {
  readonly tasks: Tasks;
  readonly record: FunctionRecord;
  readonly recipe: Recipe;
  readonly onError: (error: unknown, what: string) => void;
}

/**
 * Containers of one revision that are made before they are wanted: everything is done but the execution of the command. Each
 * serves one request, so that it is as fresh as one that is made for it.
 */
export class Prepared implements AsyncDisposable {
  readonly #parts: PreparedParts;
  readonly #ready: Instance[] = [];
  #closed = false;
  /** The one that is being made. */
  #making: Promise<unknown> = Promise.resolve();

  constructor(parts: PreparedParts) {
    this.#parts = parts;
  }

  /** How many are to be made until all are there. */
  get missing(): number {
    return this.#closed ? 0 : this.#parts.record.prepared - this.#ready.length;
  }

  /** Takes the oldest one; it is the caller's to release. @returns undefined where none is ready. */
  take(): Instance | undefined {
    for (let instance = this.#ready.shift(); instance !== undefined; instance = this.#ready.shift()) {
      // Something of this machine may have killed it.
      if (instance.task.status === "created") return instance;
      const { id } = instance;
      instance.release().catch((error) => this.#parts.onError(error, `cannot remove prepared container ${id}`));
    }
    return undefined;
  }

  /** Makes one more. @throws as `Tasks.create`. */
  async add(): Promise<void> {
    if (this.missing <= 0) return;
    const made = this.#make();
    this.#making = made.catch(() => {});
    const instance = await made;
    if (this.#closed) await instance.release();
    else this.#ready.push(instance);
  }

  async #make(): Promise<Instance> {
    const { tasks, record, recipe } = this.#parts;
    const id = newContainerId();
    await using undo = new AsyncDisposableStack();
    const { rootfs, release } = await recipe.rootfs(id);
    undo.defer(release);
    const task = await tasks.create({
      id,
      namespace: record.namespace,
      function: record.name,
      image: record.image,
      labels: record.labels,
      runtime: recipe.runtime,
      spec: recipe.spec(id, {}),
      rootfs,
      stdio: { stdin: true },
    });
    undo.defer(async () => {
      await task.delete();
    });
    const held = undo.move();
    return { id, task, release: () => held.disposeAsync() };
  }

  /** Removes those that wait. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    await this.#making;
    await Promise.all(this.#ready.splice(0).map((instance) => instance.release()));
  }
}
