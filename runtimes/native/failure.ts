import { Failure } from "../../src/core/errors.ts";
import type { Operation, Program } from "../../src/linux/program.ts";
import type { Spec } from "../../src/core/spec.ts";
import { executeCommand, findCommand } from "./execute.ts";

/** Exit statuses of shells for what could not be run. */
const notExecutable = 126;
const notFound = 127;

/** Tells why a container could not be started, in the container's terms, from the step that failed. */
export function startFailure(id: string, spec: Spec, program: Program, error: unknown): unknown {
  if (!(error instanceof Failure)) return error;
  const step = stepOf(error, program);
  const start = `cannot start container ${JSON.stringify(id)}`;
  if (step?.why.startsWith(findCommand) || step?.why.startsWith(executeCommand)) {
    return commandFailure(start, spec, error.errno, aboutOf(error));
  }
  return inContext(start, step, error);
}

/** Tells why a container could not be created, as `startFailure` does. */
export function createFailure(id: string, program: Program, error: unknown): unknown {
  if (!(error instanceof Failure)) return error;
  return inContext(`cannot create container ${JSON.stringify(id)}`, stepOf(error, program), error);
}

function stepOf(error: Failure, program: Program): Operation | undefined {
  const index = error.details?.step;
  return typeof index === "number" ? program[index] : undefined;
}

function aboutOf(error: Failure): About {
  const { syscall, errno } = error;
  return {
    cause: error,
    ...(syscall === undefined ? {} : { syscall }),
    ...(errno === undefined ? {} : { errno }),
  };
}

function inContext(action: string, step: Operation | undefined, error: Failure): Failure {
  const about = { ...aboutOf(error), details: error.details ?? {} };
  if (step !== undefined && (error.errno === "ELOOP" || error.errno === "ENOTDIR")) {
    return new Failure(
      "failed_precondition",
      `${action}: ${error.message}: the image has something else there`,
      about,
    );
  }
  return new Failure(error.code, `${action}: ${error.message}`, about);
}

type About = NonNullable<ConstructorParameters<typeof Failure>[2]>;

function commandFailure(start: string, spec: Spec, errno: string | undefined, about: About): Failure {
  const command = JSON.stringify(spec.process.args[0]);
  switch (errno) {
    case "ENOENT":
    case "ENOTDIR":
      return new Failure(
        "not_found",
        `${start}: command ${command} is not in the image, or the interpreter that it names is not`,
        { ...about, details: { exitCode: notFound } },
      );
    case "ENOEXEC":
      return new Failure(
        "permission_denied",
        `${start}: command ${command} is no program for this machine, and no script with an interpreter line`,
        { ...about, details: { exitCode: notExecutable } },
      );
    case "E2BIG":
      return new Failure(
        "invalid_argument",
        `${start}: arguments and environment are larger than the kernel takes`,
        about,
      );
    default:
      return new Failure("permission_denied", `${start}: command ${command} cannot be executed: ${errno}`, {
        ...about,
        details: { exitCode: notExecutable },
      });
  }
}
