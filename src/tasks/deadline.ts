import type { Task } from "../core/task.ts";
import { killSoon } from "./kill_soon.ts";

/**
 * Kills a task when its time is over, and keeps that reason apart: the exit alone reads like any other kill.
 *
 * @example
 * using deadline = new Deadline(task, 60_000);
 * const exit = await task.wait();
 * if (deadline.passed) …
 */
export class Deadline implements Disposable {
  #passed = false;
  readonly #timer: ReturnType<typeof setTimeout>;

  /** @param timeoutMs from now. */
  constructor(task: Pick<Task, "kill" | "status">, timeoutMs: number) {
    this.#timer = setTimeout(() => {
      if (task.status === "stopped") return;
      this.#passed = true;
      killSoon(task);
    }, timeoutMs);
  }

  /** Whether it has killed the task. */
  get passed(): boolean {
    return this.#passed;
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }
}
