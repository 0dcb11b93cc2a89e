import { Failure } from "./errors.ts";

/**
 * Waits for something that may never come.
 * @param action what could not be done when the time is over, as a failure's text begins.
 * @throws deadline_exceeded; what the promise is rejected with. Whatever it comes to afterwards is nobody's.
 */
export async function withTimeLimit<T>(promise: PromiseLike<T> | T, limitMs: number, action: string): Promise<T> {
  const over = Promise.withResolvers<never>();
  const timer = setTimeout(
    () => over.reject(new Failure("deadline_exceeded", `${action}: no answer within ${limitMs / 1000} s`)),
    limitMs,
  );
  try {
    return await Promise.race([promise, over.promise]);
  } finally {
    clearTimeout(timer);
  }
}
