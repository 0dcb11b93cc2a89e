import { appendFileSync, writeSync } from "node:fs";

/** Where messages go, in runc's two forms: podman, conmon and containerd read them. */
export interface LogOptions {
  /** A file that lines are added to. Default: standard error. */
  readonly file: string | undefined;
  readonly format: "text" | "json";
  readonly debug: boolean;
}

/** What a program can tell of an error, beside the words. */
export interface ErrorFacts {
  /** As `Failure.code`. */
  readonly code?: string;
  /** A shell's exit status for a command that could not be executed. */
  readonly exitCode?: number;
}

/** Tells what happens to who called: a line for each message. */
export class CommandLog {
  readonly #options: LogOptions;

  constructor(options: LogOptions) {
    this.#options = options;
  }

  debug(message: string): void {
    if (this.#options.debug) this.#write("debug", message);
  }

  warn(message: string): void {
    this.#write("warning", message);
  }

  /** Why the command failed; a person sees it too, where the log is a file. */
  error(message: string, facts: ErrorFacts = {}): void {
    this.#write("error", message, facts);
    if (this.#options.file !== undefined) writeSync(2, `${message}\n`);
  }

  #write(level: string, message: string, facts: ErrorFacts = {}): void {
    const { file, format } = this.#options;
    const time = new Date().toISOString();
    const line = format === "json"
      ? JSON.stringify({ level, msg: message, time, ...facts })
      : `time=${JSON.stringify(time)} level=${level} msg=${JSON.stringify(message)}`;
    if (file === undefined) writeSync(2, `${line}\n`);
    else appendFileSync(file, `${line}\n`, { mode: 0o600 });
  }
}
