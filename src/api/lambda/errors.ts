import { codeOf, type ErrorCode, Failure, messageOf } from "../../core/errors.ts";
import { type FailureReason, reasonOf } from "../../functions/failures.ts";

interface ErrorShape {
  /** The exception's name, by which AWS's clients know it. */
  readonly type: string;
  readonly status: number;
}

const parameter = { type: "InvalidParameterValueException", status: 400 } as const;
const tooLarge = { type: "RequestTooLargeException", status: 413 } as const;
const service = { type: "ServiceException", status: 500 } as const;

/** What each code is called by the API of AWS Lambda. */
const shapes = {
  invalid_argument: parameter,
  unimplemented: parameter,
  // An image of another platform, for instance: AWS refuses those as a parameter, too.
  failed_precondition: parameter,
  unauthenticated: { type: "UnrecognizedClientException", status: 403 },
  permission_denied: { type: "AccessDeniedException", status: 403 },
  not_found: { type: "ResourceNotFoundException", status: 404 },
  already_exists: { type: "ResourceConflictException", status: 409 },
  aborted: { type: "PreconditionFailedException", status: 412 },
  resource_exhausted: { type: "TooManyRequestsException", status: 429 },
  internal: service,
  data_loss: service,
  unavailable: { type: "ServiceException", status: 503 },
  deadline_exceeded: { type: "ServiceException", status: 504 },
} as const satisfies Record<ErrorCode, ErrorShape>;

const reasonShapes: Partial<Record<FailureReason, ErrorShape>> = {
  body_too_large: tooLarge,
  headers_too_large: tooLarge,
  body_too_slow: { type: "InvalidRequestContentException", status: 408 },
  no_capacity: shapes.resource_exhausted,
  start_failed: service,
  cancelled: { type: "ServiceException", status: 499 },
};

/** Exceptions whose text is called `Message` and not `message`, as their shapes in AWS's description have it. */
const capitals: ReadonlySet<string> = new Set(["ResourceNotFoundException", "ServiceException"]);

/** A body that is no JSON. */
export function invalidContent(message: string): Failure {
  return new Failure("invalid_argument", message, { details: { lambdaType: "InvalidRequestContentException" } });
}

/** A call that this API has not. */
export function unknownOperation(message: string): Failure {
  return new Failure("not_found", message, { details: { lambdaType: "UnknownOperationException" } });
}

/**
 * An error in the form of the API of AWS Lambda.
 * @see https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html#API_Invoke_Errors
 */
export function lambdaErrorResponse(error: unknown): Response {
  const details = error instanceof Failure ? error.details ?? {} : {};
  const reason = reasonOf(error);
  const { type: known, status } = (reason && reasonShapes[reason]) ?? shapes[codeOf(error)];
  const type = typeof details["lambdaType"] === "string" ? details["lambdaType"] : known;
  const message = error instanceof Failure ? messageOf(error) : "an unexpected error, which the daemon's log describes";
  const text = JSON.stringify({
    Type: status < 500 ? "User" : "Service",
    [capitals.has(type) ? "Message" : "message"]: message,
    ...(type === "TooManyRequestsException" && { Reason: "ConcurrentInvocationLimitExceeded" }),
  });
  const headers = new Headers({ "content-type": "application/json", "x-amzn-errortype": type });
  const { invocation, retryAfterSeconds } = details;
  if (typeof invocation === "string") {
    headers.set("x-amzn-requestid", invocation);
    headers.set("x-mayfly-invocation", invocation);
  }
  if (typeof retryAfterSeconds === "number") headers.set("retry-after", String(retryAfterSeconds));
  return new Response(text, { status, headers });
}
