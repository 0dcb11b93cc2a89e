import type { Spawned } from "../../src/linux/kernel.ts";

/** How a task comes to its process. */
export interface Launch {
  /** The process, where there is one before `start`. Its pidfd is the task's. */
  readonly init: Spawned | undefined;
  /**
   * Executes the container's command.
   * @param env in place of the spec's. @returns the process. @throws the failing step's error.
   */
  start(env?: readonly string[]): Promise<Spawned> | Spawned;
  /** Lets go of what `start` has not used. A process that waits for it ends by itself. */
  close(): void;
}
