import type { DetachedProcess } from "../core/detached.ts";
import type { OciContext } from "./command.ts";

const forwarded = [["SIGTERM", 15], ["SIGINT", 2], ["SIGHUP", 1], ["SIGUSR2", 12]] as const;

/** Waits for a process that belongs to this command, and hands this command's signals on to it. @returns its exit status. */
export async function waitInForeground(context: OciContext, waited: DetachedProcess): Promise<number> {
  const { host, kernel } = await context.machine();
  const off = forwarded.map(([name, number]) => host.onSignal(name, () => kernel.attempt("kill", waited.pid, number)));
  try {
    return (await waited.wait()).code;
  } finally {
    for (const stop of off) stop();
  }
}
