import { passOverEnded } from "../core/errors.ts";
import { demand, type Task } from "../core/task.ts";
import { jsonLines } from "./json_lines.ts";

/** Milliseconds between two lines. */
const everyMs = 1000;

/** What a task uses as JSON lines, one each second, until it ends. @throws as `Measures.stats`. */
export async function statsLines(task: Task): Promise<Response> {
  const measured = demand(task, "stats");
  await measured.stats();
  const ended = task.wait().then(() => {}, () => {});
  return jsonLines(async (write, signal) => {
    while (!signal.aborted && task.status !== "stopped") {
      // It may end in between; then the line before was its last.
      const stats = await measured.stats().catch(passOverEnded);
      if (stats === undefined) return;
      write({ at: new Date(), ...stats });
      await pause(ended, signal);
    }
  });
}

/** Waits for the next line's time, an end or a signal, whichever comes first. */
async function pause(ended: Promise<void>, signal: AbortSignal): Promise<void> {
  const over = Promise.withResolvers<void>();
  const timer = setTimeout(over.resolve, everyMs);
  const onAbort = () => over.resolve();
  signal.addEventListener("abort", onAbort);
  try {
    await Promise.race([over.promise, ended]);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", onAbort);
  }
}
