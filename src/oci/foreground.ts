import type { DetachedProcess } from "../core/detached.ts";
import type { Kernel } from "../linux/kernel.ts";
import { OwnTerminal } from "../linux/own_terminal.ts";
import { Stages } from "../linux/stages.ts";
import { TerminalRelay, windowSize } from "../linux/terminal_relay.ts";
import * as f from "../linux/flags.ts";
import type { OciContext } from "./command.ts";

const forwarded = [["SIGTERM", 15], ["SIGINT", 2], ["SIGHUP", 1], ["SIGUSR2", 12]] as const;
const [input, output] = [0, 1];

/** The terminal that this command is used in: at its standard input, or else at its output. */
export function ownTerminal(kernel: Kernel): OwnTerminal | undefined {
  return OwnTerminal.at(kernel, input) ?? OwnTerminal.at(kernel, output);
}

/**
 * Waits for a process that belongs to this command, and hands this command's signals on to it; what its terminal says and
 * hears goes over this command's standard streams. @returns its exit status.
 */
export async function waitInForeground(context: OciContext, waited: DetachedProcess): Promise<number> {
  const { host, kernel } = await context.machine();
  await using undo = new AsyncDisposableStack();
  for (const [name, number] of forwarded) {
    undo.defer(host.onSignal(name, () => kernel.attempt("kill", waited.pid, number)));
  }
  const relay = waited.terminal === undefined ? undefined : await carry(context, waited.terminal, undo);
  const { code } = await waited.wait();
  // The kernel hangs a terminal up when the first of its processes ends: nothing keeps this waiting.
  await relay?.said;
  return code;
}

/** Carries a terminal. @param master becomes the relay's. @param undo ends it, and leaves this command's own as it was. */
async function carry(context: OciContext, master: number, undo: AsyncDisposableStack): Promise<TerminalRelay> {
  const { host, kernel, children } = await context.machine();
  const own = ownTerminal(kernel);
  if (own !== undefined) undo.use(own.raw());
  const stages = undo.use(new Stages(kernel, children));
  const relay = new TerminalRelay(stages, master, {
    input: opened(kernel, input, undo),
    output: opened(kernel, output, undo),
  });
  undo.defer(() => relay.close());
  undo.defer(host.onSignal("SIGWINCH", () => {
    const size = own?.size;
    if (size !== undefined) relay.resize(windowSize(size));
  }));
  return relay;
}

/**
 * What a relay reads or writes in place of one of this command's streams. For a terminal it is a file of its own: a host may
 * at any time make its own one that does not wait.
 */
function opened(kernel: Kernel, fd: number, undo: AsyncDisposableStack): number {
  if (OwnTerminal.at(kernel, fd) === undefined) return fd;
  const own = kernel.attempt("openat", f.AT_FDCWD, `/proc/self/fd/${fd}`, f.O_RDWR | f.O_NOCTTY | f.O_CLOEXEC, 0);
  if (own < 0) return fd;
  undo.defer(() => void kernel.attempt("close", own));
  return own;
}
