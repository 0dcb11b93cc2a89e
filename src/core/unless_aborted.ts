import { Failure } from "./errors.ts";

/**
 * Waits for a promise, or until nobody waits any more.
 * @throws aborted when the signal comes first; what the promise throws.
 */
export async function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return await promise;
  const aborted = Promise.withResolvers<never>();
  // Where the promise comes first, nobody looks at this one.
  aborted.promise.catch(() => {});
  const onAbort = () => aborted.reject(new Failure("aborted", "the caller went away", { cause: signal.reason }));
  if (signal.aborted) onAbort();
  signal.addEventListener("abort", onAbort);
  try {
    return await Promise.race([promise, aborted.promise]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}
