import { Failure } from "../core/errors.ts";
import type { Host } from "../core/host.ts";
import { decodeMessage, encodeMessage, type InputChannel } from "../core/stdio_frames.ts";
import type { WebSocketConnection } from "../core/web_socket.ts";
import { DetachKeys } from "./detach_keys.ts";
import { rawKeyboard, readInput } from "./keyboard.ts";
import { outcome } from "./outcome.ts";
import type { Output } from "./output.ts";

export interface AttachedOptions {
  readonly host: Host;
  readonly output: Output;
  /** Whether the other side is a terminal. */
  readonly tty: boolean;
  /** Whether it is given this command's standard input. */
  readonly stdin: boolean;
  /** Leave the process to itself; undefined where it cannot be left. */
  readonly detachKeys: readonly number[] | undefined;
  /** What is to be sent first. */
  readonly first?: readonly Uint8Array[];
  /** Called for a signal to this command, which goes on; without one, it ends. */
  readonly onSignal?: ((signal: "SIGINT" | "SIGTERM" | "SIGHUP") => void) | undefined;
}

/** Where a command left a process that goes on: it is no exit status of the process. */
export const detached = Symbol("detached");

const textEncoder = new TextEncoder();

/** A message of JSON. */
export function jsonMessage(channel: InputChannel, value: unknown): Uint8Array {
  return encodeMessage(channel, textEncoder.encode(JSON.stringify(value)));
}

/**
 * Carries this command's own streams to and from a process, to its end.
 * @returns the process's exit status, or `detached`. @throws what kept it from running; unavailable.
 */
export async function attached(
  connection: WebSocketConnection,
  { host, output, tty, stdin, detachKeys, first = [], onSignal }: AttachedOptions,
): Promise<number | typeof detached> {
  const writer = connection.writable.getWriter();
  // A connection that is gone is told by its reading side.
  const send = (message: Uint8Array) => writer.write(message).catch(() => {});
  for (const message of first) await send(message);
  await using undo = new AsyncDisposableStack();
  let left = false;
  const leave = () => {
    left = true;
    connection.close();
  };
  if (onSignal !== undefined) {
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
      undo.defer(host.onSignal(signal, () => onSignal(signal)));
    }
  }
  if (tty && stdin) undo.use(rawKeyboard(host, (size) => void send(jsonMessage("resize", size))));
  if (stdin) {
    const keys = tty && detachKeys !== undefined ? new DetachKeys(detachKeys) : undefined;
    undo.defer(readInput(async (chunk) => {
      const { send: keep, detached: over } = keys?.filter(chunk) ?? { send: chunk, detached: false };
      if (keep.length > 0) await send(encodeMessage("stdin", keep));
      if (over) leave();
    }, () => void send(encodeMessage("stdinEnd"))));
  }
  let last: unknown;
  try {
    for await (const message of connection.readable) {
      const { channel, payload } = decodeMessage(message);
      if (channel === "stdout") await output.bytes(payload);
      else if (channel === "stderr") await output.errorBytes(payload);
      else if (channel === "result") last = JSON.parse(new TextDecoder().decode(payload));
    }
  } catch (error) {
    if (!left && last === undefined) throw error;
  }
  if (last !== undefined) return outcome(last, output);
  if (left) {
    // Behind the prompt that the process had drawn.
    output.note("");
    return detached;
  }
  const { code, reason } = await connection.closed;
  throw new Failure("unavailable", `the process's outcome is not known: the connection was closed (${code} ${reason})`);
}
