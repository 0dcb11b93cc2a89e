import type { FunctionRecord, FunctionSettings } from "../core/function.ts";
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
  /** How many always wait. */
  readonly count: number;
  readonly onError: (error: unknown, what: string) => void;
}

/** How many may wait at the most. */
export function mostPrepared({ prepared, preparedMax = prepared }: FunctionSettings): number {
  return preparedMax;
}

/**
 * Containers of one revision that are made before they are wanted: everything is done but the execution of the command. Each
 * serves one request, so that it is as fresh as one that is made for it.
 *
 * How many follows the requests, where it may: those that come before all are there again are one burst, and the next one is
 * expected to be as large.
 */
export class Prepared implements AsyncDisposable {
  readonly #parts: PreparedParts;
  readonly #ready: Instance[] = [];
  #closed = false;
  /** How many always wait. */
  #least: number;
  #wanted: number;
  /** How many were asked for since all were there. */
  #burst = 0;
  #idle: ReturnType<typeof setTimeout> | undefined;
  /** The one that is being made. */
  #making: Promise<unknown> = Promise.resolve();

  constructor(parts: PreparedParts) {
    this.#parts = parts;
    this.#least = parts.count;
    this.#wanted = parts.count;
  }

  /** Says how many always wait: too many are let go of at once, those that lack are made by and by. */
  keep(count: number): void {
    if (count === this.#least) return;
    this.#least = count;
    this.#letGo();
  }

  /** How many wait. */
  get count(): number {
    return this.#ready.length;
  }

  /** How many are to be made until all are there that always wait. */
  get required(): number {
    return this.#closed ? 0 : this.#least - this.#ready.length;
  }

  /** How many are to be made until all are there. */
  get missing(): number {
    return this.#closed ? 0 : this.#wanted - this.#ready.length;
  }

  /** Expects as many requests at once as there were. */
  #expect(): void {
    const { record } = this.#parts;
    const most = mostPrepared(record);
    if (most <= this.#least) return;
    this.#burst++;
    this.#wanted = Math.max(this.#wanted, Math.min(this.#burst, most));
    clearTimeout(this.#idle);
    this.#idle = setTimeout(() => this.#letGo(), record.idleMs);
    // It ends with the daemon, and is nothing to wait for.
    (this.#idle as { unref?: () => void }).unref?.();
  }

  /** No request has come for long. */
  #letGo(): void {
    this.#burst = 0;
    this.#wanted = this.#least;
    for (const instance of this.#ready.splice(this.#wanted)) this.#remove(instance);
  }

  #remove({ id, release }: Instance): void {
    release().catch((error) => this.#parts.onError(error, `cannot remove prepared container ${id}`));
  }

  /** Takes the oldest one; it is the caller's to release. @returns undefined where none is ready. */
  take(): Instance | undefined {
    this.#expect();
    for (let instance = this.#ready.shift(); instance !== undefined; instance = this.#ready.shift()) {
      // Something of this machine may have killed it.
      if (instance.task.status === "created") return instance;
      this.#remove(instance);
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
    else if (this.missing <= 0) this.#remove(instance);
    else this.#ready.push(instance);
    if (this.missing <= 0) this.#burst = 0;
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
    clearTimeout(this.#idle);
    await this.#making;
    await Promise.all(this.#ready.splice(0).map((instance) => instance.release()));
  }
}
