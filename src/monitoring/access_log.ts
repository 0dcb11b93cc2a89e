import { appendFile } from "node:fs/promises";
import { appendFileSync, statSync } from "node:fs";
import process from "node:process";
import { Failure, messageOf } from "../core/errors.ts";

/** How long a line waits for others. */
const flushMs = 200;
/** What may wait where the disk does not keep up; lines beyond it are left out, and counted. */
const maxWaiting = 4 * 1024 * 1024;

/**
 * A file of JSON lines, written in batches: a crash loses the last of them. Each batch opens the file by its name, so that it
 * can be renamed at any time to begin a new one.
 */
export class AccessLog implements AsyncDisposable {
  readonly #target: string;
  readonly #onError: (error: unknown, what: string) => void;
  #waiting = "";
  #left = 0;
  #failed = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #writing: Promise<void> = Promise.resolve();

  /**
   * @param target a file's path, which is made readable by its owner alone, or `-` for standard output.
   * @throws failed_precondition where it cannot be written.
   */
  constructor(target: string, onError: (error: unknown, what: string) => void) {
    this.#target = target;
    this.#onError = onError;
    if (target === "-") return;
    try {
      if (statSync(target, { throwIfNoEntry: false })?.isFile() === false) throw new Error("it is no file");
      appendFileSync(target, "", { mode: 0o600 });
    } catch (cause) {
      throw new Failure("failed_precondition", `cannot write the access log ${target}: ${messageOf(cause)}`, { cause });
    }
  }

  write(entry: object): void {
    const line = `${JSON.stringify(entry)}\n`;
    if (this.#waiting.length + line.length > maxWaiting) {
      this.#left++;
      return;
    }
    this.#waiting += line;
    this.#timer ??= setTimeout(() => this.#flush(), flushMs);
  }

  #flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#writing = this.#writing.then(() => this.#append());
  }

  /** Never rejects: what cannot be written is told once, until it can be again. */
  async #append(): Promise<void> {
    const left = this.#left === 0 ? "" : `${JSON.stringify({ time: new Date().toISOString(), leftOut: this.#left })}\n`;
    const text = this.#waiting + left;
    this.#waiting = "";
    this.#left = 0;
    if (text === "") return;
    try {
      if (this.#target === "-") await toStandardOutput(text);
      else await appendFile(this.#target, text, { mode: 0o600 });
      this.#failed = false;
    } catch (error) {
      if (!this.#failed) this.#onError(error, `cannot write the access log ${this.#target}`);
      this.#failed = true;
    }
  }

  /** Writes what waits. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#flush();
    await this.#writing;
  }
}

function toStandardOutput(text: string): Promise<void> {
  return new Promise((resolve, reject) =>
    process.stdout.write(text, (error) => error == null ? resolve() : reject(error))
  );
}
