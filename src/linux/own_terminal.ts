import type { TerminalSize } from "../core/task.ts";
import * as f from "./flags.ts";
import type { Kernel } from "./kernel.ts";

/** `struct termios` as the kernel has it: four words of flags, the line discipline, 19 control characters. */
const termiosBytes = 36;
const [inputFlags, outputFlags, controlFlags, localFlags] = [0, 4, 8, 12];
const [controlCharacters, vtime, vmin] = [17, 5, 6];

/** The terminal at one of this process's own descriptors. */
export class OwnTerminal {
  readonly #kernel: Kernel;
  readonly #fd: number;

  private constructor(kernel: Kernel, fd: number) {
    this.#kernel = kernel;
    this.#fd = fd;
  }

  /** @returns undefined where there is none. */
  static at(kernel: Kernel, fd: number): OwnTerminal | undefined {
    const terminal = new OwnTerminal(kernel, fd);
    return terminal.#ask(f.TCGETS, termiosBytes) === undefined ? undefined : terminal;
  }

  /** Undefined where the terminal knows none. */
  get size(): TerminalSize | undefined {
    const bytes = this.#ask(f.TIOCGWINSZ, 8);
    const [height = 0, width = 0] = bytes === undefined ? [] : new Uint16Array(bytes.buffer);
    return width > 0 && height > 0 ? { width, height } : undefined;
  }

  /** Hands on every key as it is pressed, and all output as it is, until the returned is disposed of. */
  raw(): Disposable {
    const before = this.#ask(f.TCGETS, termiosBytes);
    if (before !== undefined) this.#set(madeRaw(before));
    return {
      [Symbol.dispose]: () => {
        if (before !== undefined) this.#set(before);
      },
    };
  }

  #set(termios: Uint8Array): void {
    this.#kernel.attempt("ioctl", this.#fd, f.TCSETSW, termios);
  }

  #ask(request: number, size: number): Uint8Array<ArrayBuffer> | undefined {
    const results = this.#kernel.run([{
      syscall: "ioctl",
      args: [this.#fd, request, { out: "answer", size }],
      store: "result",
      why: "ask the terminal",
      onError: "ignore",
    }]);
    return results.get("result") < 0 ? undefined : results.bytes("answer");
  }
}

/** @see https://man7.org/linux/man-pages/man3/cfmakeraw.3.html */
function madeRaw(termios: Uint8Array<ArrayBuffer>): Uint8Array {
  const raw = termios.slice();
  const view = new DataView(raw.buffer);
  const change = (at: number, clear: number, set = 0) =>
    view.setUint32(at, ((view.getUint32(at, true) & ~clear) | set) >>> 0, true);
  change(inputFlags, f.IGNBRK | f.BRKINT | f.PARMRK | f.ISTRIP | f.INLCR | f.IGNCR | f.ICRNL | f.IXON);
  change(outputFlags, f.OPOST);
  change(controlFlags, f.CSIZE | f.PARENB, f.CS8);
  change(localFlags, f.ECHO | f.ECHONL | f.ICANON | f.ISIG | f.IEXTEN);
  raw[controlCharacters + vmin] = 1;
  raw[controlCharacters + vtime] = 0;
  return raw;
}
