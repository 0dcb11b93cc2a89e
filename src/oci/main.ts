import { codeOf, Failure, messageOf } from "../core/errors.ts";
import { version } from "../version.ts";
import { describe, type Flags, type Given, isSet, parseFlags, text } from "./arguments.ts";
import { type OciCommand, OciContext, type OciParts, say } from "./command.ts";
import { create } from "./commands/create.ts";
import { deleteCommand } from "./commands/delete.ts";
import { events } from "./commands/events.ts";
import { exec } from "./commands/exec.ts";
import { features } from "./commands/features.ts";
import { kill } from "./commands/kill.ts";
import { list } from "./commands/list.ts";
import { pause } from "./commands/pause.ts";
import { ps } from "./commands/ps.ts";
import { resume } from "./commands/resume.ts";
import { run } from "./commands/run.ts";
import { spec } from "./commands/spec.ts";
import { start } from "./commands/start.ts";
import { state } from "./commands/state.ts";
import { update } from "./commands/update.ts";
import { ociVersion } from "./document.ts";
import { CommandLog } from "./log.ts";
import { isAlive } from "./process_info.ts";
import { StateStore } from "./state_store.ts";

const commands: readonly OciCommand[] = [
  create,
  start,
  state,
  kill,
  deleteCommand,
  run,
  exec,
  list,
  ps,
  features,
  spec,
  pause,
  resume,
  update,
  events,
];

const globalFlags: Flags = {
  root: {
    type: "text",
    help: "folder for the containers' states (default /run/mayfly-oci, a user's: $XDG_RUNTIME_DIR/mayfly-oci)",
  },
  log: { type: "text", help: "file for messages (default: standard error)" },
  "log-format": { type: "text", help: "text (default) or json" },
  debug: { type: "boolean", help: "more messages" },
  "systemd-cgroup": { type: "boolean", help: "take cgroup paths in the form slice:prefix:name" },
  "cgroup-manager": { type: "text", help: "cgroupfs, or systemd as --systemd-cgroup" },
  criu: { type: "text", help: "taken and without effect" },
  rootless: { type: "text", help: "taken and without effect" },
  help: { type: "boolean", short: "h", help: "say what there is" },
  version: { type: "boolean", short: "v", help: "print the versions" },
};

/**
 * The OCI runtime's command line, with runc's flags: `mayfly oci create --bundle … <id>`.
 * @param args what follows `oci`.
 * @returns the exit status: that of the process for `run` and `exec`, else 0, or 1 for an error.
 */
export async function ociMain(args: readonly string[], parts: OciParts): Promise<number> {
  let log = new CommandLog({ file: undefined, format: "text", debug: false });
  try {
    const given = parseFlags(args, globalFlags, 1);
    const [name, ...rest] = given.words;
    if (isSet(given, "version")) {
      say(`mayfly version ${version}\nspec: ${ociVersion}`);
      return 0;
    }
    if (isSet(given, "help") || name === undefined || name === "help") {
      say(overview());
      return name === undefined && !isSet(given, "help") ? 1 : 0;
    }
    const format = text(given, "log-format") === "json" ? "json" : "text";
    log = new CommandLog({ file: text(given, "log"), format, debug: isSet(given, "debug") });
    const command = commands.find((candidate) => candidate.name === name);
    if (command === undefined) throw new Failure("invalid_argument", `unknown command ${JSON.stringify(name)}`);
    return await runCommand(command, given, rest, log, parts);
  } catch (error) {
    const exitCode = exitCodeOf(error);
    log.error(messageOf(error), { code: codeOf(error), ...(exitCode === undefined ? {} : { exitCode }) });
    // 1, as runc's, but for commands that cannot be executed, which have a shell's, and for defects.
    return exitCode ?? (codeOf(error) === "internal" ? 70 : 1);
  }
}

async function runCommand(
  command: OciCommand,
  global: Given,
  args: readonly string[],
  log: CommandLog,
  parts: OciParts,
): Promise<number> {
  const flags: Flags = { ...command.flags, help: { type: "boolean", short: "h", help: "say what it does" } };
  const given = parseFlags(args, flags, command.lastWord);
  if (isSet(given, "help")) {
    say(`${command.summary}\n\n  mayfly oci ${command.usage}\n\n${describe(flags)}`);
    return 0;
  }
  const { min, max } = command.words;
  if (given.words.length < min || given.words.length > max) {
    throw new Failure("invalid_argument", `${command.name}: wrong number of arguments: mayfly oci ${command.usage}`);
  }
  const store = new StateStore(text(global, "root") ?? parts.root);
  const systemdCgroup = isSet(global, "systemd-cgroup") || text(global, "cgroup-manager") === "systemd";
  if (command.asRoot === true) await parts.becomeRoot(initOf(store, given.words[0] ?? ""));
  log.debug(`${command.name} ${given.words.join(" ")}`);
  return await command.run(new OciContext(given, parts, { store, log, systemdCgroup }));
}

/** The process of a container that is there. */
function initOf(store: StateStore, id: string): number | undefined {
  try {
    const { pid, startTicks } = store.load(id);
    return isAlive(pid, startTicks) ? pid : undefined;
  } catch {
    // What is wrong with it, the command says.
    return undefined;
  }
}

function exitCodeOf(error: unknown): number | undefined {
  const named = error instanceof Failure ? error.details?.["exitCode"] : undefined;
  return typeof named === "number" ? named : undefined;
}

function overview(): string {
  const width = Math.max(...commands.map(({ name }) => name.length));
  return [
    "An OCI runtime: containers of bundles, without a daemon.",
    "",
    "  mayfly oci [options] <command> [options] <id>",
    "",
    ...commands.map(({ name, summary }) => `  ${name.padEnd(width)}  ${summary}`),
    "",
    describe(globalFlags),
  ].join("\n");
}
