import type { SpecProcess } from "../../src/core/spec.ts";
import * as f from "../../src/linux/flags.ts";
import type { Operation } from "../../src/linux/program.ts";
import { quote } from "./steps.ts";

/** Where commands are looked for when the environment has no PATH. */
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** How the description of a step begins that fails where the command cannot be run. */
export const findCommand = "find command";
export const executeCommand = "execute";

/** The files that a command may be, in the order of PATH. */
export function candidates({ args, env, cwd }: SpecProcess): readonly string[] {
  const [command = ""] = args;
  if (command.includes("/")) return [command];
  const path = env?.findLast((entry) => entry.startsWith("PATH="))?.slice(5) ?? defaultPath;
  // An empty entry means the working folder.
  return path.split(":").map((folder) => `${folder === "" ? cwd : folder}/${command}`);
}

/**
 * Finds the command as the container's user, in its root and working folder, and executes it. It is looked for before the
 * filter is loaded, which may forbid looking. Where nothing can be executed it fails as a shell would: not executable if
 * there is such a file, else not found.
 *
 * The holes `argv` and `envp` are its arguments and environment.
 * @param last what has to come directly before the execution.
 */
export function* execute(process: SpecProcess, last: () => Iterable<Operation>): Generator<Operation> {
  const files = candidates(process);
  const why = `${findCommand} ${quote(process.args[0] ?? "")}`;
  const look = (file: string, mode: number) => ({ syscall: "faccessat", args: [f.AT_FDCWD, file, mode], why }) as const;
  for (const [index, file] of files.entries()) {
    yield { ...look(file, f.X_OK), onError: "ignore", onZero: { goto: `execute:${index}` } };
  }
  for (const file of files) {
    yield { ...look(file, f.F_OK), onError: "ignore", onZero: { goto: "denied" } };
  }
  yield look(files.at(-1) ?? "", f.F_OK);
  for (const file of files) {
    // Only a file that is there fails to be executable; the others are not what went wrong.
    yield {
      ...look(file, f.F_OK),
      onError: { goto: `next:${file}` },
      ...(file === files[0] ? { label: "denied" } : {}),
    };
    yield look(file, f.X_OK);
    yield { syscall: "getpid", args: [], why, label: `next:${file}` };
  }
  for (const [index, file] of files.entries()) {
    let label: string | undefined = `execute:${index}`;
    for (const step of last()) {
      yield label === undefined ? step : { ...step, label };
      label = undefined;
    }
    yield {
      syscall: "execve",
      args: [file, { hole: "argv" }, { hole: "envp" }],
      why: `${executeCommand} ${quote(file)}`,
      ...(label === undefined ? {} : { label }),
    };
  }
}
