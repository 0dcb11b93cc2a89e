import { codeOf, messageOf } from "../core/errors.ts";

const askAgainMs = 50;

export interface ReachOrOpen<T> {
  /** Reaches the daemon that runs; undefined where none answers. */
  readonly reach: () => Promise<T | undefined>;
  /** Opens one here. @throws failed_precondition while another process holds its folders. */
  readonly open: () => Promise<T>;
  /** How long to wait for that one, in milliseconds. */
  readonly patienceMs: number;
  /** Takes a line for the person. */
  readonly warn: (text: string) => void;
}

/**
 * Reaches a daemon, or opens one. Who holds the folders and answers nothing is a daemon that begins, or a command that works
 * in its own process; both are over soon, so that `mayfly serve & mayfly pull …` works, whichever of them is first.
 * @throws what `reach` and `open` throw; the latter's also where the folders are held for longer than that.
 */
export async function reachOrOpen<T>({ reach, open, patienceMs, warn }: ReachOrOpen<T>): Promise<T> {
  const deadline = performance.now() + patienceMs;
  for (let first = true;; first = false) {
    const reached = await reach();
    if (reached !== undefined) return reached;
    try {
      return await open();
    } catch (error) {
      const held = lockHeld(error);
      if (held === undefined || performance.now() > deadline) throw error;
      if (first) warn(`${messageOf(held)}: waiting for it`);
    }
    await new Promise((resolve) => setTimeout(resolve, askAgainMs));
  }
}

/** The failure among an error and its causes that says that another process has a lock. */
function lockHeld(error: unknown): Error | undefined {
  if (!(error instanceof Error)) return undefined;
  return "syscall" in error && error.syscall === "flock" && codeOf(error) === "failed_precondition"
    ? error
    : lockHeld(error.cause);
}
