import type { Task } from "../core/task.ts";

/** Kills a task without waiting for it. Where the signal cannot be sent, `delete` sends it again and says why. */
export function killSoon(task: Pick<Task, "kill">): void {
  task.kill().catch(() => {});
}
