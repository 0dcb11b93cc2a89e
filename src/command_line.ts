/** The command line: finds the command, reads the configuration, runs it, and turns its outcome into an exit status. */
import { readFileSync } from "node:fs";
import { commandFirst, didYouMean, flagsOf, help, parse } from "./cli/arguments.ts";
import { text } from "./cli/command.ts";
import { commands, overview } from "./cli/commands.ts";
import { connect } from "./cli/connection.ts";
import { exitStatus } from "./cli/exit_status.ts";
import { terminal } from "./cli/terminal.ts";
import { readConfig } from "./config.ts";
import { codeOf, Failure, messageOf } from "./core/errors.ts";
import { currentHost } from "./host/mod.ts";
import { isRootless, userFolders } from "./cli/user.ts";
import { version } from "./version.ts";

const systemFolder = "/etc/mayfly";

async function main(args: readonly string[]): Promise<number> {
  // `help deploy` is `deploy --help`.
  const [name, ...rest] = args[0] === "help" && args[1] !== undefined ? [args[1], "--help"] : commandFirst(args);
  if (name === undefined || name === "help" || name === "--help" || name === "-h") {
    console.log(overview());
    return name === undefined ? 2 : 0;
  }
  if (name === "--version" || name === "version") {
    console.log(version);
    return 0;
  }
  const command = commands.find((candidate) => candidate.name === name);
  if (command === undefined) {
    const near = didYouMean(name, commands.map((each) => each.name));
    throw new Failure(
      "invalid_argument",
      `unknown command ${JSON.stringify(name)}${near}\n\`mayfly --help\` lists all commands`,
    );
  }
  const { words, flags } = parse(command, rest);
  if (flags["help"] === true) {
    console.log(help(command));
    return 0;
  }
  const known = flagsOf(command);
  const host = await currentHost();
  const user = isRootless(host.env) ? userFolders(host.env) : undefined;
  const config = readConfig({
    defaults: user && { root: user.root, run: user.run },
    file: configFile(text(flags, "config"), host.env["MAYFLY_CONFIG"], `${user?.config ?? systemFolder}/config.json`),
    env: host.env,
    flags: Object.fromEntries(
      Object.entries(flags).filter((entry): entry is [string, string | boolean] =>
        entry[0] in known && !(entry[0] in (command.flags ?? {})) &&
        (typeof entry[1] === "string" || typeof entry[1] === "boolean")
      ),
    ),
  });
  const output = terminal(flags["json"] === true);
  // Loaded only where a daemon is opened: a command that reaches one over its socket starts in a third of the time.
  const openDaemon = async (...daemon: Parameters<typeof import("./daemon.ts").openDaemon>) => {
    await (await import("./rootless.ts")).needRoot(host);
    return await (await import("./daemon.ts")).openDaemon(...daemon);
  };
  return await command.run({
    host,
    config,
    words,
    flags,
    output,
    openDaemon,
    ordinaryUser: async () => isRootless(host.env) ? (await import("./rootless.ts")).ordinaryUser(host) : undefined,
    connect: () => connect({ host, config, openDaemon, warn: output.note }),
  });
}

function configFile(
  flag: string | undefined,
  variable: string | undefined,
  defaultFile: string,
): { name: string; text: string } | undefined {
  const name = flag ?? variable ?? defaultFile;
  try {
    return { name, text: readFileSync(name, "utf8") };
  } catch (cause) {
    if (flag === undefined && name === defaultFile && codeOfSystem(cause) === "ENOENT") return undefined;
    throw new Failure("invalid_argument", `cannot read the configuration file "${name}": ${messageOf(cause)}`, {
      cause,
    });
  }
}

function codeOfSystem(error: unknown): unknown {
  return typeof error === "object" && error !== null && "code" in error ? error.code : undefined;
}

/** Runs one command. @returns its exit status; what went wrong is told on the standard error. */
export async function commandLine(args: readonly string[]): Promise<number> {
  try {
    return await main(args);
  } catch (error) {
    console.warn(`mayfly: ${messageOf(error)}`);
    if (codeOf(error) === "internal" && (await currentHost()).env["MAYFLY_LOG_LEVEL"] === "debug") console.error(error);
    return exitStatus(error);
  }
}
