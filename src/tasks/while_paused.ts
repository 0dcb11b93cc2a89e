import { can, type Task } from "../core/task.ts";

/** Does something while no process of a task runs, where its runtime can stop them; they go on behind it. */
export async function whilePaused<T>(task: Task | undefined, work: () => Promise<T>): Promise<T> {
  if (task === undefined || task.status !== "running" || !can(task, "pause")) return await work();
  await task.pause();
  try {
    return await work();
  } finally {
    if (isPaused(task)) await task.resume();
  }
}

/** Asked again, since a task may have been resumed or killed meanwhile. */
function isPaused({ status }: Pick<Task, "status">): boolean {
  return status === "paused";
}
