import { codeOf, type ErrorCode, Failure } from "../core/errors.ts";

/**
 * Exit statuses in sysexits' words where it has one, so that a script can tell a wrong call from a fault.
 * @see https://man.openbsd.org/sysexits
 */
const statuses = {
  invalid_argument: 2,
  not_found: 66,
  already_exists: 73,
  failed_precondition: 78,
  permission_denied: 77,
  unauthenticated: 77,
  resource_exhausted: 75,
  deadline_exceeded: 124,
  aborted: 75,
  unavailable: 69,
  unimplemented: 78,
  data_loss: 65,
  internal: 70,
} as const satisfies Record<ErrorCode, number>;

/** The exit status for an error: what its details name (127 for a command that is not in the image), else its code's. */
export function exitStatus(error: unknown): number {
  const named = error instanceof Failure ? error.details?.["exitCode"] : undefined;
  return typeof named === "number" ? named : statuses[codeOf(error)];
}
