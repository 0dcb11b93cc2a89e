import { codeOf, type ErrorCode, Failure, messageOf } from "../core/errors.ts";
import { addRateHeaders, type RateState } from "../core/rate.ts";
import { type FailureReason, reasonOf } from "../functions/failures.ts";

/** The HTTP status of each code. The one map from errors to statuses, with its refinement below. */
export const statuses = {
  invalid_argument: 400,
  unauthenticated: 401,
  permission_denied: 403,
  not_found: 404,
  already_exists: 409,
  failed_precondition: 409,
  aborted: 409,
  resource_exhausted: 429,
  internal: 500,
  data_loss: 500,
  unimplemented: 501,
  unavailable: 503,
  deadline_exceeded: 504,
} as const satisfies Record<ErrorCode, number>;

/** Where an invocation fails in a way that its code alone does not tell. */
const reasonStatuses = {
  body_too_large: 413,
  body_too_slow: 408,
  headers_too_large: 431,
  start_failed: 500,
  no_capacity: 503,
  exit_code: 500,
  out_of_memory: 500,
  out_of_space: 500,
  timeout: 504,
  // Nobody reads it; the log of a proxy in front may.
  cancelled: 499,
  not_ready: 504,
  died: 502,
  bad_answer: 502,
  function_error: 500,
} as const satisfies Record<FailureReason, number>;

export const titles: Readonly<Record<number, string>> = {
  400: "Bad Request",
  401: "Unauthorized",
  403: "Forbidden",
  404: "Not Found",
  405: "Method Not Allowed",
  408: "Request Timeout",
  409: "Conflict",
  413: "Content Too Large",
  429: "Too Many Requests",
  431: "Request Header Fields Too Large",
  499: "Client Closed Request",
  500: "Internal Server Error",
  501: "Not Implemented",
  502: "Bad Gateway",
  503: "Service Unavailable",
  504: "Gateway Timeout",
};

/** An error as an API's caller sees it. @see https://www.rfc-editor.org/rfc/rfc9457 */
export interface Problem {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  readonly code: ErrorCode;
  /** Facts from `Failure.details`: `field`, `exitCode`, `invocation`, … */
  readonly [fact: string]: unknown;
}

/** The status of any thrown value. */
export function statusOf(error: unknown): number {
  const reason = reasonOf(error);
  return reason === undefined ? statuses[codeOf(error)] : reasonStatuses[reason];
}

/** Describes any thrown value. What a defect says stays in the log: its text may hold anything. */
export function problemOf(error: unknown, status: number = statusOf(error)): Problem {
  const code = codeOf(error);
  const known = error instanceof Failure;
  // What a function tells of its failure in full, with its stack, is for clients of AWS Lambda.
  const { reason, serverTiming: _, rate: _rate, functionError: __, ...facts } = known ? error.details ?? {} : {};
  return {
    ...facts,
    type: `urn:mayfly:problem:${String(reason ?? code).replaceAll("_", "-")}`,
    title: titles[status] ?? "Error",
    status,
    detail: known ? messageOf(error) : "an unexpected error, which the daemon's log describes",
    code,
  };
}

/** The answer that an error becomes. */
export function problemResponse(error: unknown, options: { readonly status?: number } = {}): Response {
  const problem = problemOf(error, options.status);
  const body = new TextEncoder().encode(JSON.stringify(problem));
  const headers = new Headers({
    "content-type": "application/problem+json",
    "content-length": String(body.length),
  });
  const { invocation, revision, retryAfterSeconds, allow } = problem;
  const serverTiming = error instanceof Failure ? error.details?.["serverTiming"] : undefined;
  if (typeof serverTiming === "string" && serverTiming !== "") headers.set("server-timing", serverTiming);
  if (typeof invocation === "string") headers.set("x-mayfly-invocation", invocation);
  if (typeof revision === "string") headers.set("x-mayfly-revision", revision);
  if (typeof retryAfterSeconds === "number") headers.set("retry-after", String(retryAfterSeconds));
  if (error instanceof Failure && error.details?.["rate"] !== undefined) {
    addRateHeaders(headers, "limit", error.details["rate"] as RateState);
  }
  if (typeof allow === "string") headers.set("allow", allow);
  if (problem.status === 401) headers.set("www-authenticate", 'Bearer realm="mayfly"');
  return new Response(body, { status: problem.status, headers });
}

/** Answers what a route throws; a defect is told to the log. */
export function answerError(
  { onError }: { readonly onError: (error: unknown, what: string) => void },
): (error: unknown) => Response {
  return (error) => {
    if (codeOf(error) === "internal") onError(error, "cannot answer a request");
    return problemResponse(error);
  };
}
