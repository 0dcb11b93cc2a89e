import type { ExecSettings } from "../core/exec.ts";
import { Failure } from "../core/errors.ts";
import type { Spec, SpecProcess } from "../core/spec.ts";
import { demand, type ExecOptions, type Process, type Task } from "../core/task.ts";
import type { Kernel } from "../linux/kernel.ts";
import { type Accounts, resolveUser } from "./accounts.ts";
import { capabilitiesOf, envOf } from "./spec.ts";
import { type Means, userWithin } from "./means.ts";
import { ImageRoot } from "./image_root.ts";
import { readAccounts } from "./look_into.ts";

/** As many processes may be there that nobody has deleted. */
const maxProcesses = 256;

/**
 * Starts one more process in a container: as its own process is, but for what the settings say.
 * @throws unimplemented where the runtime cannot; resource_exhausted for one too many; as `Executes.exec`.
 */
export async function execProcess(
  { kernel, task, spec, means }: {
    readonly kernel: Kernel;
    readonly task: Task;
    readonly spec: Spec;
    readonly means: Means;
  },
  settings: ExecSettings,
  stdio: NonNullable<ExecOptions["stdio"]>,
): Promise<Process> {
  const executing = demand(task, "exec");
  if (executing.processes().length >= maxProcesses) {
    throw new Failure(
      "resource_exhausted",
      `cannot run a process in ${JSON.stringify(task.id)}: it has ${maxProcesses} that are not deleted`,
    );
  }
  const { id = crypto.randomUUID().replaceAll("-", "").slice(-16), user } = settings;
  const accounts = user === undefined ? undefined : containerAccounts(kernel, task);
  const process = processOf(spec, settings, accounts);
  return await executing.exec({ id, process: { ...process, user: userWithin(process.user, means) }, stdio });
}

function processOf(spec: Spec, settings: ExecSettings, accounts: Accounts | undefined): SpecProcess {
  const { command, env, user, workdir, tty, size } = settings;
  const account = user === undefined || accounts === undefined ? undefined : resolveUser(user, accounts);
  const own = spec.process;
  return {
    ...own,
    terminal: tty,
    args: [...command],
    env: envOf(own.env ?? [], {
      ...(tty ? { TERM: "xterm" } : {}),
      ...(account === undefined ? {} : { HOME: account.home || "/" }),
      ...env,
    }),
    cwd: workdir ?? own.cwd,
    ...(account === undefined ? {} : { user: account.user, capabilities: capabilitiesOf(account.user?.uid ?? 0) }),
    ...(size === undefined ? {} : { consoleSize: size }),
  };
}

/** The account files as the container has them now. */
function containerAccounts(kernel: Kernel, task: Task): Accounts {
  using inside = rootOf(kernel, task);
  return readAccounts(inside);
}

/** The root of a container that runs, as it sees it. @throws failed_precondition where it does not run. */
export function rootOf(kernel: Kernel, task: Task): ImageRoot {
  if (task.pid === undefined) {
    throw new Failure("failed_precondition", `cannot look into ${JSON.stringify(task.id)}: it does not run`);
  }
  return new ImageRoot(kernel, [{ type: "bind", source: `/proc/${task.pid}/root`, options: ["rbind"] }]);
}
