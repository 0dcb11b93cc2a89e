import { Failure } from "../../core/errors.ts";
import { reasonOf } from "../failures.ts";

/** A function's own failure: the answer's status is 200, and its body says what went wrong. */
export interface FunctionError {
  readonly errorType: string;
  readonly errorMessage: string;
}

/** The most that an answer may have, as AWS Lambda has it. */
export const maxPayloadBytes = 6 * 1024 * 1024;

/**
 * What a failure is to a client of AWS Lambda, where the function is to blame for it.
 * @param id the invocation's, where the failure does not name it.
 * @returns undefined where it is not: the client gets an error of the API then.
 * @see https://docs.aws.amazon.com/lambda/latest/dg/troubleshooting-invocation.html
 */
export function functionErrorOf(error: unknown, id?: string): FunctionError | undefined {
  if (!(error instanceof Failure)) return undefined;
  const { exitCode, signal, timeoutMs, invocation, functionError } = error.details ?? {};
  const of = (errorType: string, text: string) => ({
    errorType,
    errorMessage: `RequestId: ${String(invocation ?? id)} Error: ${text}`,
  });
  switch (reasonOf(error)) {
    case "function_error":
      return functionError as FunctionError;
    case "died":
    case "exit_code":
      return of(
        "Runtime.ExitError",
        `Runtime exited with error: ${signal === undefined ? `exit status ${exitCode}` : `signal: ${signal}`}`,
      );
    case "out_of_space":
      return of("Runtime.ExitError", error.message);
    case "out_of_memory":
      return of("Runtime.OutOfMemory", "Runtime exited with error: signal: killed: out of memory");
    case "timeout":
      return of("Sandbox.Timedout", `Task timed out after ${(Number(timeoutMs) / 1000).toFixed(2)} seconds`);
    case "not_ready":
    case "bad_answer":
      return of("Runtime.Unknown", error.message);
    case "start_failed":
      // One of the machine's failures has no exit code, and is none of the function's.
      return exitCode === undefined ? undefined : of("Runtime.InvalidEntrypoint", error.message);
    default:
      return undefined;
  }
}

/** An answer of more bytes than may be. */
export function responseTooLarge(): FunctionError {
  return {
    errorType: "Function.ResponseSizeTooLarge",
    errorMessage: `Response payload size exceeded maximum allowed payload size (${maxPayloadBytes} bytes).`,
  };
}
