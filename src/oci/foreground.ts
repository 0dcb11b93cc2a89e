import { fstatSync } from "node:fs";
import type { DetachedProcess } from "../core/detached.ts";
import type { Host } from "../core/host.ts";
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
async function carry(
  context: OciContext,
  master: number,
  undo: AsyncDisposableStack,
): Promise<Pick<TerminalRelay, "said">> {
  const { host, kernel, children } = await context.machine();
  const own = ownTerminal(kernel);
  if (own !== undefined) undo.use(own.raw());
  const stages = undo.use(new Stages(kernel, children));
  const [from, to] = [opened(host, kernel, input, undo), opened(host, kernel, output, undo)];
  const relay = new TerminalRelay(stages, master, { input: from.fd, output: to.fd });
  // The relay has its own by now: what it reads ends with who writes it, and what it writes with the relay.
  for (const { handOver } of [from, to]) handOver?.();
  undo.defer(() => relay.close());
  undo.defer(host.onSignal("SIGWINCH", () => {
    const size = own?.size;
    if (size !== undefined) relay.resize(windowSize(size));
  }));
  // Where nobody takes what it says any more, the terminal is hung up, or its processes would wait for a reader for ever.
  const said = relay.said.then(() => Promise.all([to.done, relay.close()])).then(() => {});
  return { said };
}

/** What a relay reads or writes in place of one of this command's streams. */
interface Opened {
  readonly fd: number;
  /** Gives the descriptor away, when the relay has it. */
  readonly handOver?: () => void;
  /** Resolves when all has arrived. */
  readonly done?: Promise<void>;
}

/**
 * Opens one of this command's streams for a relay, which waits in its reads and writes: a host may at any time make its own
 * streams ones that don't wait, so that a terminal or a pipe is opened as a file of its own, and what goes over a socket,
 * which cannot be opened again, is carried by the host.
 */
function opened(host: Host, kernel: Kernel, fd: typeof input | typeof output, undo: AsyncDisposableStack): Opened {
  const kind = fstatSync(fd);
  if (kind.isSocket()) return carried(host, kernel, fd, undo);
  const isTerminal = OwnTerminal.at(kernel, fd) !== undefined;
  if (!isTerminal && !kind.isFIFO()) return { fd };
  const access = isTerminal ? f.O_RDWR : fd === input ? f.O_RDONLY : f.O_WRONLY;
  const flags = access | f.O_NOCTTY | f.O_CLOEXEC | f.O_NONBLOCK;
  // A pipe whose other end is gone would be waited for.
  const own = kernel.attempt("openat", f.AT_FDCWD, `/proc/self/fd/${fd}`, flags, 0);
  if (own < 0) return { fd };
  kernel.attempt("fcntl", own, f.F_SETFL, access);
  undo.defer(() => void kernel.attempt("close", own));
  return { fd: own };
}

/** A pipe, from or to a stream that the host reads or writes. */
function carried(host: Host, kernel: Kernel, fd: typeof input | typeof output, undo: AsyncDisposableStack): Opened {
  const pipe = kernel.buffer(8);
  kernel.call("pipe2", pipe.address, f.O_CLOEXEC);
  const [reading = -1, writing = -1] = new Int32Array(pipe.bytes.slice().buffer);
  const stream = kernel.call("fcntl", fd, f.F_DUPFD_CLOEXEC, 0);
  const over = new AbortController();
  const [source, sink, ours] = fd === input ? [stream, writing, reading] : [reading, stream, writing];
  const done = host.readable(source).pipeTo(host.writable(sink), { signal: over.signal }).catch(() => {});
  let handed = false;
  const handOver = () => {
    if (!handed) kernel.attempt("close", ours);
    handed = true;
  };
  undo.defer(async () => {
    handOver();
    over.abort();
    await done;
  });
  return { fd: ours, handOver, done };
}
