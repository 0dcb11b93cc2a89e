import { Failure } from "../core/errors.ts";
import { errnoCode, errnoName, errnoText } from "./errno.ts";
import type { Operation, Program } from "./program.ts";

/** The failure of a program's step: its message begins with the step's `why`. @param number the errno. */
export function stepFailure(program: Program, index: number, number: number): Failure {
  const { why, syscall } = program[index] as Operation;
  return new Failure(errnoCode(number), `${why}: ${errnoText(number)}`, {
    syscall,
    errno: errnoName(number),
    details: { step: index },
  });
}
