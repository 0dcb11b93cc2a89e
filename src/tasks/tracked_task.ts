import type { Events } from "../core/event.ts";
import type { Exit, Task, TaskStatus } from "../core/task.ts";
import { boundedTail } from "./bounded_tail.ts";

/** Whose task it is. */
export interface TaskOwner {
  readonly namespace: string;
  /** The function that it serves, if it does. */
  readonly function?: string | undefined;
  /** The image's name. */
  readonly image?: string | undefined;
}

/** A runtime's task that tells what happens to it. */
export class TrackedTask implements Task {
  readonly owner: TaskOwner;
  readonly createdAt = new Date();
  readonly #task: Task;
  readonly #events: Events;
  readonly #onDelete: () => void;
  readonly #shared: boolean;
  #stdout: Task["stdout"];
  #stderr: Task["stderr"];
  #startedAt: Date | undefined;
  #deletion: Promise<Exit | undefined> | undefined;

  /** @param shared whether it can give its streams away to other containers' processes: it shares a network with them. */
  constructor(task: Task, owner: TaskOwner, events: Events, shared: boolean, onDelete: () => void) {
    this.#task = task;
    this.owner = owner;
    this.#events = events;
    this.#shared = shared;
    this.#onDelete = onDelete;
    this.#publish("create", {});
  }

  get id(): string {
    return this.#task.id;
  }
  get status(): TaskStatus {
    return this.#task.status;
  }
  get pid(): number | undefined {
    return this.#task.pid;
  }
  get stdin(): Task["stdin"] {
    return this.#task.stdin;
  }
  get stdout(): Task["stdout"] {
    return this.#stdout ??= this.#output(this.#task.stdout);
  }
  get stderr(): Task["stderr"] {
    return this.#stderr ??= this.#output(this.#task.stderr);
  }
  /** When its process was executed. */
  get startedAt(): Date | undefined {
    return this.#startedAt;
  }

  #output(stream: Task["stdout"]): Task["stdout"] {
    return stream === undefined || !this.#shared ? stream : boundedTail(stream, this.#task.wait());
  }

  async start(): Promise<void> {
    await this.#task.start();
    this.#startedAt = new Date();
    this.#publish("start", { pid: this.pid });
    // Who waits for the task is told of a failure; events have only exits.
    this.#task.wait().then((exit) => this.#exited(exit), () => {});
  }

  wait(): Promise<Exit> {
    return this.#task.wait();
  }

  kill(signal?: number, options?: { readonly all?: boolean }): Promise<void> {
    return this.#task.kill(signal, options);
  }

  /** The runtime's own task, for what it can do beside this. */
  get inner(): Task {
    return this.#task;
  }

  delete(): Promise<Exit | undefined> {
    return this.#deletion ??= this.#delete();
  }

  async #delete(): Promise<Exit | undefined> {
    try {
      const exit = await this.#task.delete();
      this.#onDelete();
      this.#publish("delete", exit === undefined ? {} : { exitStatus: exit.code, exitedAt: exit.exitedAt });
      return exit;
    } catch (error) {
      // What could not be deleted stays listed, and deleting may be tried again.
      this.#deletion = undefined;
      throw error;
    }
  }

  #exited(exit: Exit): void {
    if (exit.oomKilled) this.#publish("oom", {});
    this.#publish("exit", { pid: this.pid, exitStatus: exit.code, exitedAt: exit.exitedAt });
  }

  #publish(event: string, data: Readonly<Record<string, unknown>>): void {
    this.#events.publish(`/tasks/${event}`, this.owner.namespace, { containerId: this.id, ...data });
  }
}
