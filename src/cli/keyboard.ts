import process from "node:process";
import { Failure } from "../core/errors.ts";
import type { Host } from "../core/host.ts";
import type { TerminalSize } from "../core/task.ts";

/** @throws invalid_argument unless standard input is a terminal. */
export function requireTerminal(flag: string): void {
  if (process.stdin.isTTY === true) return;
  throw new Failure(
    "invalid_argument",
    `${flag} wants a terminal as standard input: leave it out in a script or a pipe`,
  );
}

/** The size of the terminal at standard output, where it is one. */
export function terminalSize(): TerminalSize | undefined {
  const [width = 0, height = 0] = process.stdout.isTTY === true ? process.stdout.getWindowSize() : [];
  return width > 0 && height > 0 ? { width, height } : undefined;
}

const deadly = { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 } as const;

/**
 * Gives every key as it is pressed, Ctrl-C too, until it is disposed of; on every way out of this process the terminal is as
 * it was.
 * @param onResize called when the size has changed.
 */
export function rawKeyboard(host: Pick<Host, "onSignal">, onResize: (size: TerminalSize) => void): Disposable {
  const restore = () => {
    if (process.stdin.isTTY === true) process.stdin.setRawMode(false);
  };
  process.stdin.setRawMode(true);
  process.on("exit", restore);
  const off = [
    host.onSignal("SIGWINCH", () => {
      const size = terminalSize();
      if (size !== undefined) onResize(size);
    }),
    // Their default action would leave the terminal as it is now.
    ...Object.entries(deadly).map(([signal, number]) =>
      host.onSignal(signal as keyof typeof deadly, () => process.exit(128 + number))
    ),
  ];
  return {
    [Symbol.dispose]() {
      for (const end of off) end();
      process.off("exit", restore);
      restore();
    },
  };
}

/** Gives what standard input has, piece by piece. @returns the way to stop. */
export function readInput(take: (chunk: Uint8Array) => Promise<void>, end: () => void): () => void {
  const { stdin } = process;
  const onData = (chunk: Uint8Array) => {
    stdin.pause();
    void take(chunk).finally(() => stdin.resume());
  };
  stdin.on("data", onData);
  stdin.on("end", end);
  stdin.on("error", end);
  stdin.resume();
  return () => {
    stdin.off("data", onData);
    stdin.off("end", end);
    stdin.off("error", end);
    stdin.pause();
  };
}
