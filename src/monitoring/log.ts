import { messageOf } from "../core/errors.ts";
import type { LogFields as Fields, Logger } from "../core/logger.ts";

const levels = ["debug", "info", "warn", "error"] as const;
/** How much somebody should care. */
export type Level = (typeof levels)[number];

/** A log of JSON lines: `time`, `level`, `message`, and what the caller adds. Secrets are never among that. */
export class Log implements Logger {
  readonly #least: number;
  readonly #write: (line: string) => void;

  /** @param write takes one line; default standard error. */
  constructor(level: Level = "info", write: (line: string) => void = (line) => console.warn(line)) {
    this.#least = levels.indexOf(level);
    this.#write = write;
  }

  debug(message: string, fields?: Fields): void {
    this.#line("debug", message, fields);
  }

  info(message: string, fields?: Fields): void {
    this.#line("info", message, fields);
  }

  warn(message: string, fields?: Fields): void {
    this.#line("warn", message, fields);
  }

  /** @param error its message, causes, and where it is no failure of a known kind its stack go along. */
  error(message: string, error?: unknown, fields?: Fields): void {
    this.#line("error", message, error === undefined ? fields : { ...fields, ...describe(error) });
  }

  #line(level: Level, message: string, fields: Fields = {}): void {
    if (levels.indexOf(level) < this.#least) return;
    this.#write(JSON.stringify({ time: new Date().toISOString(), level, message, ...fields }));
  }
}

function describe(error: unknown): Fields {
  const causes: string[] = [];
  for (let cause = error instanceof Error ? error.cause : undefined; cause !== undefined && causes.length < 8;) {
    causes.push(messageOf(cause));
    cause = cause instanceof Error ? cause.cause : undefined;
  }
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  return {
    error: messageOf(error),
    ...(code === undefined ? {} : { code }),
    ...(causes.length === 0 ? {} : { causes }),
    ...(code === undefined && error instanceof Error ? { stack: error.stack } : {}),
  };
}
