/**
 * What a caller can do about a failure. A closed set: a new code is a change of contract.
 *
 * | code | the caller should |
 * |---|---|
 * | invalid_argument | mend the request; trying again does not help |
 * | not_found | create the thing, or name another |
 * | already_exists | choose another name, or use what is there |
 * | failed_precondition | bring the system into the wanted state first |
 * | permission_denied | ask for the right; it is known who asks |
 * | unauthenticated | say who asks |
 * | resource_exhausted | wait, or raise a limit |
 * | deadline_exceeded | allow more time |
 * | aborted | try the whole operation again |
 * | unavailable | try again later |
 * | unimplemented | not ask for this here |
 * | data_loss | fetch the data again |
 * | internal | report a defect |
 */
export const errorCodes = [
  "invalid_argument",
  "not_found",
  "already_exists",
  "failed_precondition",
  "permission_denied",
  "unauthenticated",
  "resource_exhausted",
  "deadline_exceeded",
  "aborted",
  "unavailable",
  "unimplemented",
  "data_loss",
  "internal",
] as const;

/** One of `errorCodes`. */
export type ErrorCode = (typeof errorCodes)[number];

/** What a failure knows beside its code and message. */
export interface FailureOptions {
  /** The error that led here. */
  readonly cause?: unknown;
  /** The system call that failed, for example `openat2`. */
  readonly syscall?: string;
  /** The name of its errno, for example `ENOENT`. */
  readonly errno?: string;
  /** Machine-readable facts for the caller: field names, limits, ids. Never secrets. */
  readonly details?: Readonly<Record<string, unknown>>;
}

/** An error with a code that tells the caller what to do. Compare the code, never the text or the class. */
export class Failure extends Error {
  override readonly name = "Failure";
  readonly code: ErrorCode;
  readonly syscall: string | undefined;
  readonly errno: string | undefined;
  readonly details: Readonly<Record<string, unknown>> | undefined;

  /**
   * @param code what the caller can do.
   * @param message the action, quoted values, a colon, then what is and what was wanted, and the cure where it is known.
   */
  constructor(code: ErrorCode, message: string, options: FailureOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.syscall = options.syscall;
    this.errno = options.errno;
    this.details = options.details;
  }
}

const known: ReadonlySet<unknown> = new Set(errorCodes);

/** Returns the code of any thrown value; `internal` for what has none. */
export function codeOf(error: unknown): ErrorCode {
  const code = typeof error === "object" && error !== null && "code" in error ? error.code : undefined;
  return known.has(code) ? code as ErrorCode : "internal";
}

/**
 * Passes over what a thing says that has ended: `not_found` and `failed_precondition`. For a `catch`.
 * @throws every other error.
 */
export function passOverEnded(error: unknown): undefined {
  if (!["not_found", "failed_precondition"].includes(codeOf(error))) throw error;
}

/** Returns the message of any thrown value. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
