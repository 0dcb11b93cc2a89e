import { Failure } from "../core/errors.ts";

/** What a caller's signal means: the failure that it aborted with, a time that ran out, or nothing more than that. */
export function interrupted(reason: unknown): Failure {
  if (reason instanceof Failure) return reason;
  return reason instanceof Error && reason.name === "TimeoutError"
    ? new Failure("deadline_exceeded", "the caller's time ran out", { cause: reason })
    : new Failure("aborted", "the request was cancelled", { cause: reason });
}

/** Waits. @throws as `interrupted` when the signal aborts. */
export function pause(ms: number, signal?: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, ms);
  return untilAborted(promise, signal).finally(() => clearTimeout(timer));
}

/** Waits for something that others wait for too, and that goes on when this caller gives up. @throws as `interrupted`. */
export async function untilAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return await promise;
  if (signal.aborted) throw interrupted(signal.reason);
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const abort = () => reject(interrupted(signal.reason));
  signal.addEventListener("abort", abort, { once: true });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}
