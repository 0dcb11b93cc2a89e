/** Takes lines for whoever runs the daemon. Secrets are never among what is said. */
export interface Logger {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  /** @param error its message, code and causes go along. */
  error(message: string, error?: unknown, fields?: LogFields): void;
}

/** What a line says beside its message. */
export type LogFields = Readonly<Record<string, unknown>>;

/** Takes lines and forgets them. */
export const silent: Logger = { debug() {}, info() {}, warn() {}, error() {} };

/** A log that says the same fields in each line. */
export function withFields(log: Logger, always: LogFields): Logger {
  return {
    debug: (message, fields) => log.debug(message, { ...fields, ...always }),
    info: (message, fields) => log.info(message, { ...fields, ...always }),
    warn: (message, fields) => log.warn(message, { ...fields, ...always }),
    error: (message, error, fields) => log.error(message, error, { ...fields, ...always }),
  };
}
