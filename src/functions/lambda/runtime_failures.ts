import { Failure } from "../../core/errors.ts";

/** An error as Lambda's runtimes report it, and as its callers get it. */
export interface RuntimeError {
  readonly errorType: string;
  readonly errorMessage: string;
  readonly [fact: string]: unknown;
}

/** The most that is kept of what a runtime reports. */
export const errorLimitBytes = 256 * 1024;

/**
 * The function, or its runtime, has said that it failed.
 * @param options.confused it does not know what it was asked: nothing more is to be asked of it.
 */
export function functionFailed(
  phase: "init" | "request",
  error: RuntimeError,
  options: { readonly confused?: true } = {},
): Failure {
  const { errorType, errorMessage } = error;
  const text = `${errorType}: ${errorMessage.slice(0, 1024)}`;
  return new Failure(
    "failed_precondition",
    phase === "init" ? `the function could not be initialized: ${text}` : `the function failed: ${text}`,
    { details: { reason: "function_error", phase, functionError: error, ...options } },
  );
}

/** What a runtime has reported, where it can be read. @param type what its header says. */
export function readRuntimeError(body: Uint8Array, type: string | null): RuntimeError {
  const known = type !== null && /^(?:Runtime|Function)\.[A-Z][A-Za-z]{0,100}$/.test(type) ? type : "Runtime.Unknown";
  const text = new TextDecoder().decode(body);
  try {
    const given: unknown = JSON.parse(text);
    if (typeof given === "object" && given !== null && !Array.isArray(given)) {
      const { errorType, errorMessage, ...more } = given as Readonly<Record<string, unknown>>;
      return {
        ...more,
        errorType: typeof errorType === "string" ? errorType : known,
        errorMessage: typeof errorMessage === "string" ? errorMessage : "",
      };
    }
  } catch {
    // It is told as it came.
  }
  return { errorType: known, errorMessage: text };
}
