import * as v from "valibot";
import { codeOf, Failure } from "../core/errors.ts";
import { parse } from "../core/parse.ts";
import type { Output } from "./output.ts";

const OutcomeSchema = v.looseObject({
  exit: v.optional(v.looseObject({ code: v.number(), oomKilled: v.optional(v.boolean()) })),
  error: v.optional(v.looseObject({ code: v.string(), detail: v.string(), exitCode: v.optional(v.number()) })),
});

/** The exit status of a process, of the last frame. @throws what kept it from running. */
export function outcome(last: unknown, output: Output): number {
  const { exit, error } = parse(OutcomeSchema, last, "cannot read how the process ended");
  if (error !== undefined) {
    throw new Failure(codeOf(error), error.detail, { details: { exitCode: error.exitCode } });
  }
  if (exit?.oomKilled === true) {
    output.note("mayfly: out of memory: a process was killed at the container's limit, raise --memory");
  }
  return exit?.code ?? 1;
}
