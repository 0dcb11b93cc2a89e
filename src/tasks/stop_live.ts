import { codeOf } from "../core/errors.ts";
import { demand, type Task } from "../core/task.ts";
import { killSoon } from "./kill_soon.ts";
import type { LiveContainer } from "./live_container.ts";

/** Lets a paused task see a signal that it was sent. */
export async function goOn(task: Task): Promise<void> {
  if (task.status !== "paused") return;
  try {
    await demand(task, "pause").resume();
  } catch (error) {
    // Its runtime has thawed it for the signal already, or the signal has ended it.
    if (codeOf(error) !== "failed_precondition") throw error;
  }
}

/** Signals, waits, kills; resolves when the end is recorded. @param graceMs Infinity waits without killing. */
export async function stopLive(live: LiveContainer, signal: number, graceMs: number): Promise<void> {
  const { task } = live;
  await task.kill(signal);
  await goOn(task);
  const timer = graceMs === Infinity ? undefined : setTimeout(() => killSoon(task), graceMs);
  try {
    await live.ended;
  } finally {
    clearTimeout(timer);
  }
}
