import { Failure } from "../../src/core/errors.ts";
import type { Step } from "../../src/linux/step_failure.ts";
import type { Spec, SpecProcess } from "../../src/core/spec.ts";
import { cutOff } from "../../src/linux/mount/rootfs.ts";
import { executeCommand, findCommand } from "./execute.ts";

/** Exit statuses of shells for what could not be run. */
const notExecutable = 126;
const notFound = 127;

/** Tells why a container could not be started, in the container's terms, from the step that failed. */
export function startFailure(id: string, spec: Spec, program: readonly Step[], error: unknown): unknown {
  if (!(error instanceof Failure)) return error;
  return commandFailure(`cannot start container ${JSON.stringify(id)}`, spec.process, program, error);
}

/** Tells why one more process could not be started, as `startFailure` does. */
export function execFailure(id: string, process: SpecProcess, program: readonly Step[], error: unknown): unknown {
  if (!(error instanceof Failure)) return error;
  return commandFailure(`cannot start process ${JSON.stringify(id)}`, process, program, error);
}

/** Tells why a container could not be created, as `startFailure` does. */
export function createFailure(id: string, program: readonly Step[], error: unknown): unknown {
  if (!(error instanceof Failure)) return error;
  return inContext(`cannot create container ${JSON.stringify(id)}`, stepOf(error, program), error);
}

function stepOf(error: Failure, program: readonly Step[]): Step | undefined {
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

function inContext(action: string, step: Step | undefined, error: Failure): Failure {
  const about = { ...aboutOf(error), details: error.details ?? {} };
  if (step !== undefined && (error.errno === "ELOOP" || error.errno === "ENOTDIR")) {
    return new Failure(
      "failed_precondition",
      `${action}: ${error.message}: the image has something else there`,
      about,
    );
  }
  if (step?.why === cutOff && error.errno === "EINVAL") {
    return new Failure(
      "failed_precondition",
      `${action}: ${error.message}: the daemon's / is no mount point, as in a chroot: ` +
        "mount --rbind the chroot's folder onto itself before entering it",
      about,
    );
  }
  return new Failure(error.code, `${action}: ${error.message}`, about);
}

type About = NonNullable<ConstructorParameters<typeof Failure>[2]>;

function commandFailure(start: string, process: SpecProcess, program: readonly Step[], error: Failure): Failure {
  const step = stepOf(error, program);
  const isCommand = step?.why.startsWith(findCommand) || step?.why.startsWith(executeCommand);
  if (!isCommand) return inContext(start, step, error);
  const command = JSON.stringify(process.args[0]);
  const about = aboutOf(error);
  switch (error.errno) {
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
      return new Failure("permission_denied", `${start}: command ${command} cannot be executed: ${error.errno}`, {
        ...about,
        details: { exitCode: notExecutable },
      });
  }
}
