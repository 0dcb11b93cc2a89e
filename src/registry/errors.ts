import { codeOf, type ErrorCode, Failure, messageOf } from "../core/errors.ts";

/**
 * The codes of the distribution specification, with what they mean in the daemon's terms and as HTTP status.
 * @see https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md#error-codes
 */
const codes = {
  BLOB_UNKNOWN: ["not_found", 404],
  BLOB_UPLOAD_INVALID: ["invalid_argument", 400],
  BLOB_UPLOAD_UNKNOWN: ["not_found", 404],
  DIGEST_INVALID: ["invalid_argument", 400],
  MANIFEST_BLOB_UNKNOWN: ["failed_precondition", 400],
  MANIFEST_INVALID: ["invalid_argument", 400],
  MANIFEST_UNKNOWN: ["not_found", 404],
  NAME_INVALID: ["invalid_argument", 400],
  NAME_UNKNOWN: ["not_found", 404],
  SIZE_INVALID: ["invalid_argument", 400],
  UNAUTHORIZED: ["unauthenticated", 401],
  DENIED: ["permission_denied", 403],
  UNSUPPORTED: ["unimplemented", 405],
  TOOMANYREQUESTS: ["resource_exhausted", 429],
} as const satisfies Record<string, readonly [ErrorCode, number]>;
export type RegistryCode = keyof typeof codes;

/** What everything else that fails is called. `UNKNOWN` and `UNAVAILABLE` are Docker's words. */
const others = {
  invalid_argument: ["UNSUPPORTED", 400],
  unauthenticated: ["UNAUTHORIZED", 401],
  permission_denied: ["DENIED", 403],
  not_found: ["NAME_UNKNOWN", 404],
  already_exists: ["UNKNOWN", 409],
  failed_precondition: ["UNKNOWN", 409],
  aborted: ["UNKNOWN", 409],
  resource_exhausted: ["UNKNOWN", 507],
  internal: ["UNKNOWN", 500],
  data_loss: ["UNKNOWN", 500],
  unimplemented: ["UNSUPPORTED", 405],
  unavailable: ["UNAVAILABLE", 503],
  deadline_exceeded: ["UNKNOWN", 504],
} as const satisfies Record<ErrorCode, readonly [string, number]>;

export interface RefusalOptions {
  readonly cause?: unknown;
  /** In place of the code's own. */
  readonly status?: number;
  /** What the error is about, for the client; of several, an error each. */
  readonly about?: readonly Readonly<Record<string, string>>[];
}

/** A failure with a code of the distribution specification. */
export function refusal(registryCode: RegistryCode, message: string, options: RefusalOptions = {}): Failure {
  const { cause, status = codes[registryCode][1], about } = options;
  return new Failure(codes[registryCode][0], message, { cause, details: { registryCode, status, about } });
}

/** The answer that an error becomes, in the specification's form. What a defect says stays in the log. */
export function errorResponse(error: unknown): Response {
  const [otherCode, otherStatus] = others[codeOf(error)];
  const details = error instanceof Failure ? error.details ?? {} : {};
  const { registryCode: code = otherCode, status = otherStatus, about = [undefined] } = details as {
    registryCode?: RegistryCode;
    status?: number;
    about?: RefusalOptions["about"];
  };
  const message = error instanceof Failure ? messageOf(error) : "an unexpected error, which the daemon's log describes";
  const errors = about.map((detail) => ({ code, message, ...(detail === undefined ? {} : { detail }) }));
  const headers = new Headers({ "content-type": "application/json" });
  if (status === 401) headers.set("www-authenticate", 'Basic realm="mayfly registry", charset="UTF-8"');
  return new Response(JSON.stringify({ errors }), { status, headers });
}
