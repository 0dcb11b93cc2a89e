import { Failure } from "../core/errors.ts";
import { errnoCode, errnoName, errnoText } from "./errno.ts";
import type { Operation } from "./program.ts";

/** What is to be known of a step to tell that it failed. */
export type Step = Pick<Operation, "syscall" | "why">;

/** The failure of a program's step: its message begins with the step's `why`. @param number the errno. */
export function stepFailure(program: readonly Step[], index: number, number: number): Failure {
  const { why, syscall } = program[index] as Step;
  return new Failure(errnoCode(number), `${why}: ${errnoText(number)}`, {
    syscall,
    errno: errnoName(number),
    details: { step: index },
  });
}
