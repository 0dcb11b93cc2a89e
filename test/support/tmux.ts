import { execFileSync } from "node:child_process";
import { until } from "./until.ts";

/** A terminal that a person could sit at, with a shell in it. */
export class Terminal implements Disposable {
  readonly #server: string;

  /** @param name unlike any other's. */
  constructor(name: string, { width, height }: { readonly width: number; readonly height: number }) {
    this.#server = name;
    this.#tmux(
      "-f",
      "/dev/null",
      "new-session",
      "-d",
      "-x",
      String(width),
      "-y",
      String(height),
      "env PS1='outer> ' sh",
    );
  }

  /** Types text. */
  type(text: string): void {
    this.#tmux("send-keys", "-l", text);
  }

  /** Presses keys, as tmux names them: `Enter`, `C-c`. */
  press(...keys: readonly string[]): void {
    this.#tmux("send-keys", ...keys);
  }

  /** Types a line. */
  enter(line: string): void {
    this.type(line);
    this.press("Enter");
  }

  resize(width: number, height: number): void {
    this.#tmux("resize-window", "-x", String(width), "-y", String(height));
  }

  /** What is on the screen, with the lines that were broken put together. */
  screen(): string {
    return this.#tmux("capture-pane", "-p", "-J", "-S", "-");
  }

  clear(): void {
    this.#tmux("send-keys", "-R");
    this.#tmux("clear-history");
  }

  /** Waits until the screen shows something. */
  async shows(pattern: RegExp): Promise<string> {
    let seen = "";
    try {
      return await until(() => {
        seen = this.screen();
        return pattern.test(seen) && seen;
      });
    } catch (cause) {
      throw new Error(`the screen does not show ${pattern}:\n${seen}`, { cause });
    }
  }

  [Symbol.dispose](): void {
    this.#tmux("kill-server");
  }

  #tmux(...args: readonly string[]): string {
    return execFileSync("tmux", ["-L", this.#server, ...args], { encoding: "utf8" });
  }
}
