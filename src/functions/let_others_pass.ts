import { can, type Task } from "../core/task.ts";

/** From when on a container counts as one that runs for long. */
const longMs = 500;

/** Of processor time, where others want it too: a sixteenth of what one has that has just begun. */
const shares = 64;

/**
 * Has a container that runs for long give way to those that have just begun, so that many of one function's do not hold up
 * the short ones of another. Where nobody else wants the processor, it changes nothing. One that was updated is not for
 * another's use again; behind so long a run, that costs nothing.
 * @returns ends it.
 */
export function letOthersPass(task: Task): Disposable {
  const timer = setTimeout(() => {
    // One that ends meanwhile needs it no more, and a runtime that cannot leaves it as it is.
    if (can(task, "update")) task.update({ cpu: { shares } }).catch(() => {});
  }, longMs);
  return { [Symbol.dispose]: () => clearTimeout(timer) };
}
