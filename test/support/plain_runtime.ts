/**
 * A runtime that is no part of Mayfly and has no abilities: its tasks are those of the runtime `native`, of which it shows
 * only what every task does.
 */
import type { Plugin, PluginContext } from "../../src/core/plugin.ts";
import type { CreateTask, Runtime, TaskEvent } from "../../src/core/runtime.ts";
import type { Task } from "../../src/core/task.ts";

class PlainTask implements Task {
  readonly #task: Task;

  constructor(task: Task) {
    this.#task = task;
  }
  get id() {
    return this.#task.id;
  }
  get status() {
    return this.#task.status;
  }
  get pid() {
    return this.#task.pid;
  }
  get stdin() {
    return this.#task.stdin;
  }
  get stdout() {
    return this.#task.stdout;
  }
  get stderr() {
    return this.#task.stderr;
  }
  start() {
    return this.#task.start();
  }
  wait() {
    return this.#task.wait();
  }
  kill(signal?: number, options?: { readonly all?: boolean }) {
    return this.#task.kill(signal, options);
  }
  delete() {
    return this.#task.delete();
  }
}

class PlainRuntime implements Runtime {
  readonly id = "plain";
  readonly abilities = new Set<never>();
  readonly #native: Runtime;
  readonly #tasks = new Map<string, PlainTask>();

  constructor(native: Runtime) {
    this.#native = native;
    native.events(({ type, id }) => type === "delete" && this.#tasks.delete(id));
  }

  async create(options: CreateTask): Promise<Task> {
    const task = new PlainTask(await this.#native.create(options));
    this.#tasks.set(task.id, task);
    return task;
  }
  tasks() {
    return [...this.#tasks.values()];
  }
  async load(id: string) {
    return this.#tasks.get(id) ?? await this.#native.load(id);
  }
  delete(id: string) {
    return this.#native.delete(id);
  }
  events(listener: (event: TaskEvent) => void) {
    return this.#native.events(listener);
  }
  recover() {
    return Promise.resolve([]);
  }
}

const plain: Plugin<Runtime> = {
  kind: "runtime",
  id: "plain",
  contract: 1,
  requires: ["runtime/native"],
  create: ({ get }: PluginContext) => new PlainRuntime(get<Runtime>("runtime", "native")),
};
export default plain;
