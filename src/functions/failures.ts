import { codeOf, Failure, messageOf } from "../core/errors.ts";
import type { FunctionSettings } from "../core/function.ts";
import type { InvocationStatus } from "../core/invocation.ts";
import type { Exit } from "../core/task.ts";

/**
 * Ways in which an invocation fails, where the error's code alone does not tell; `details.reason` of its failure.
 */
const failureReasons = [
  "body_too_large",
  "body_too_slow",
  "headers_too_large",
  "start_failed",
  "no_capacity",
  "exit_code",
  "out_of_memory",
  "out_of_space",
  "timeout",
  "cancelled",
  "not_ready",
  "died",
  "bad_answer",
  "function_error",
] as const;
export type FailureReason = (typeof failureReasons)[number];

/** The reason that a failure carries, if it is one of an invocation. */
export function reasonOf(error: unknown): FailureReason | undefined {
  const reason = error instanceof Failure ? error.details?.["reason"] : undefined;
  return failureReasons.find((known) => known === reason);
}

/** The caller has gone away, or has broken off its body. */
export function cancelled(cause?: unknown): Failure {
  return new Failure("aborted", "the caller went away before the function had ended", {
    cause,
    details: { reason: "cancelled" },
  });
}

/** The body has more bytes than the function takes. */
export function bodyTooLarge(limitBytes: number): Failure {
  return new Failure(
    "resource_exhausted",
    `the request's body has more than the ${limitBytes} bytes that are allowed`,
    {
      details: { reason: "body_too_large", limitBytes },
    },
  );
}

/** The caller keeps an invocation waiting for its body. */
export function bodyTooSlow(timeoutMs: number, bytes: number): Failure {
  return new Failure(
    "deadline_exceeded",
    `the request's body did not come in time: ${bytes} bytes of it were there after a wait of ${timeoutMs} ms`,
    { details: { reason: "body_too_slow", timeoutMs } },
  );
}

/** The function did not end in time. */
export function timedOut(timeoutMs: number): Failure {
  return new Failure("deadline_exceeded", `the function did not end within ${timeoutMs} ms, and was killed`, {
    details: { reason: "timeout", timeoutMs },
  });
}

/**
 * The container could not be made or started: the deployment's fault, or the machine's, never the caller's. A caller is
 * told of a command that cannot be executed; what else went wrong may name things of the machine, and stays in the cause.
 */
export function startFailed(cause: unknown): Failure {
  const code = codeOf(cause);
  const exitCode = cause instanceof Failure ? cause.details?.["exitCode"] : undefined;
  if (typeof exitCode === "number") {
    return new Failure("failed_precondition", messageOf(cause), {
      cause,
      details: { reason: "start_failed", exitCode },
    });
  }
  const exhausted = code === "resource_exhausted" || code === "unavailable";
  return new Failure(
    exhausted ? "unavailable" : "internal",
    "cannot start the function's container: its record or the daemon's log says why",
    {
      cause,
      details: exhausted ? { reason: "no_capacity", retryAfterSeconds: 1 } : { reason: "start_failed" },
    },
  );
}

/** A container that serves many requests did not begin to take them in time. */
export function notReady(limitMs: number, wanted: string): Failure {
  return new Failure(
    "deadline_exceeded",
    `the function's container was not ready within ${limitMs} ms of its start: ${wanted}`,
    { details: { reason: "not_ready", phase: "start", timeoutMs: limitMs } },
  );
}

/** A container that serves many requests has ended, where nobody had asked it to. */
export function died(phase: "start" | "request", exit: Exit): Failure {
  const how = exit.oomKilled
    ? "it ran out of memory and was killed"
    : exit.signal === undefined
    ? `it ended with exit code ${exit.code}`
    : `it ended with signal ${exit.signal}`;
  const when = phase === "start" ? "before it was ready" : "before it had answered";
  return new Failure("failed_precondition", `the function's container died ${when}: ${how}`, {
    details: { reason: "died", phase, exitCode: exit.code, ...(exit.signal !== undefined && { signal: exit.signal }) },
  });
}

/** What a function's server sent is no answer of HTTP. */
export function badAnswer(what: string): Failure {
  return new Failure("failed_precondition", `the function's answer cannot be understood: ${what}`, {
    details: { reason: "bad_answer", phase: "answer" },
  });
}

/** A function's server has closed the connection too early. */
export function closedEarly(when: string, cause?: unknown): Failure {
  return new Failure("failed_precondition", `the function's server closed the connection ${when}`, {
    cause,
    details: { reason: "bad_answer", phase: "answer" },
  });
}

/** What reading from a function's server, or writing to it, throws. */
export function brokenOff(error: unknown): Failure {
  return error instanceof Failure ? error : closedEarly("while it was used", error);
}

/** No container could take a request in time. */
export function noInstance(waitedMs: number, limit: number): Failure {
  return new Failure(
    "unavailable",
    `the function is busy: none of its containers could take the request within ${waitedMs} ms, and it may have ${limit}`,
    { details: { reason: "no_capacity", limit, retryAfterSeconds: 1 } },
  );
}

/**
 * What an exit means; undefined where it is a success.
 * @param full what `outOfSpace` says of it.
 */
export function exitFailure(
  exit: Exit,
  settings: Pick<FunctionSettings, "memoryBytes">,
  full?: string,
): Failure | undefined {
  if (exit.code === 0) return undefined;
  if (exit.oomKilled) {
    return new Failure(
      "failed_precondition",
      `the function ran out of memory: it reached its limit of ${settings.memoryBytes} bytes and was killed`,
      { details: { reason: "out_of_memory", exitCode: exit.code, memoryBytes: settings.memoryBytes } },
    );
  }
  const how = exit.signal === undefined ? `exit code ${exit.code}` : `signal ${exit.signal}`;
  return new Failure("failed_precondition", `the function ended with ${how}${full === undefined ? "" : `: ${full}`}`, {
    details: {
      reason: full === undefined ? "exit_code" : "out_of_space",
      exitCode: exit.code,
      ...(exit.signal === undefined ? {} : { signal: exit.signal }),
    },
  });
}

/** How an invocation that ended with this failure is recorded. */
export function statusOf(failure: Failure | undefined): InvocationStatus {
  if (failure === undefined) return "succeeded";
  switch (reasonOf(failure)) {
    case "timeout":
      return "timeout";
    case "out_of_memory":
      return "oom";
    case "cancelled":
      return "cancelled";
    case "exit_code":
    case "out_of_space":
      return "failed";
    default:
      return "error";
  }
}

/**
 * Any thrown value as a failure that names its invocation and revision, and the phases until then as Server-Timing has them.
 */
export function ofInvocation(
  error: unknown,
  facts: { readonly invocation: string; readonly revision: string; readonly serverTiming: string },
): Failure {
  const known = error instanceof Failure ? error : undefined;
  return new Failure(codeOf(error), messageOf(error), {
    cause: known === undefined ? error : known.cause,
    details: { ...known?.details, ...facts },
  });
}
