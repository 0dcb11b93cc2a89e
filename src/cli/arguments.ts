import { parseArgs } from "node:util";
import { environmentOf, flagOf, isSecret, options } from "../config.ts";
import { Failure, messageOf } from "../core/errors.ts";
import { closest } from "./closest.ts";
import type { Command, Flag, FlagValues } from "./command.ts";

/** Flags that every command takes: the configuration's options and these. */
const commonFlags: Readonly<Record<string, Flag>> = {
  help: { type: "boolean", short: "h", help: "say what the command does" },
  json: { type: "boolean", help: "write results as JSON" },
  config: {
    type: "string",
    value: "file",
    help: "configuration file (default /etc/mayfly/config.json, if it is there)",
  },
};

const configFlags: Readonly<Record<string, Flag>> = Object.fromEntries(
  Object.entries(options).map(([name, option]) => [flagOf(name), {
    type: option.form === "boolean" ? "boolean" : "string",
    value: option.form,
    // Taken here only to be refused with its reason.
    help: isSecret(name as keyof typeof options)
      ? `${option.help}; as ${environmentOf(name)} or in the file only`
      : option.help,
  }]),
);

/** The flags of a command: its own, the common ones, the configuration's. */
export function flagsOf(command: Command): Readonly<Record<string, Flag>> {
  return { ...configFlags, ...commonFlags, ...command.flags };
}

/** The command's name first, where the flags that every command takes stand before it: `mayfly --root /x images`. */
export function commandFirst(args: readonly string[]): readonly string[] {
  const at = firstWord(args, { ...configFlags, ...commonFlags });
  const name = args[at];
  return name === undefined || name === "--" ? args : [name, ...args.slice(0, at), ...args.slice(at + 1)];
}

/** @throws invalid_argument for an unknown flag, a flag without its value, too few or too many words. */
export function parse(command: Command, args: readonly string[]): { words: readonly string[]; flags: FlagValues } {
  const flags = flagsOf(command);
  const split = command.passesRest ? firstWord(args, flags) : args.length;
  let parsed;
  try {
    parsed = parseArgs({
      args: args.slice(0, split),
      options: Object.fromEntries(
        Object.entries(flags).map(([name, { type, short, multiple }]) => [
          name,
          { type, ...(short === undefined ? {} : { short }), ...(multiple === true ? { multiple } : {}) },
        ]),
      ),
      allowPositionals: true,
      strict: true,
    });
  } catch (cause) {
    const what = messageOf(cause).split(". To specify")[0] ?? "";
    const unknown = /^Unknown option '--(.+)'$/.exec(what)?.[1];
    throw usage(command, what + didYouMean(unknown, Object.keys(flags), "--"));
  }
  const words = [...parsed.positionals, ...args.slice(args[split] === "--" ? split + 1 : split)];
  const { min, max } = command.words ?? { min: 0, max: 0 };
  if (parsed.values["help"] !== true && (words.length < min || words.length > max)) {
    const wanted = min === max ? `${min}` : max === Infinity ? `${min} or more` : `${min} to ${max}`;
    throw usage(command, `it takes ${wanted} argument${wanted === "1" ? "" : "s"}, and was given ${words.length}`);
  }
  return { words, flags: parsed.values as FlagValues };
}

/** What to say behind a name that is not known, where another one is near it. */
export function didYouMean(word: string | undefined, names: readonly string[], before = ""): string {
  const name = word === undefined ? undefined : closest(word, names);
  return name === undefined ? "" : `; did you mean ${before}${name}?`;
}

function usage(command: Command, what: string): Failure {
  return new Failure("invalid_argument", `mayfly ${command.name}: ${what}\nusage: mayfly ${command.usage}`);
}

/** The index of the first word that is neither a flag nor a flag's value. */
function firstWord(args: readonly string[], flags: Readonly<Record<string, Flag>>): number {
  for (let i = 0; i < args.length; i++) {
    const arg = args[i] ?? "";
    if (arg === "--" || !arg.startsWith("-") || arg === "-") return i;
    const flag = arg.startsWith("--")
      ? flags[arg.slice(2)]
      : Object.values(flags).find((candidate) => candidate.short === arg.slice(-1));
    if (flag?.type === "string" && !arg.includes("=")) i++;
  }
  return args.length;
}

/** The text of `mayfly <command> --help`. */
export function help(command: Command): string {
  const lines = [`${command.summary[0]?.toUpperCase()}${command.summary.slice(1)}.`, "", `  mayfly ${command.usage}`];
  if (command.examples !== undefined) lines.push("", ...command.examples.map((example) => `  $ ${example}`));
  if (command.notes !== undefined) lines.push("", ...command.notes);
  const own = command.name === "serve" ? { ...command.flags, ...configFlags } : command.flags ?? {};
  lines.push("", "Options:", ...describe({ ...own, ...commonFlags }));
  if (command.name !== "serve") {
    lines.push("", "`mayfly serve --help` lists the configuration's options; every command takes them.");
  }
  return lines.join("\n");
}

function describe(flags: Readonly<Record<string, Flag>>): string[] {
  const heads = Object.entries(flags).map(([name, { type, short, value }]) =>
    `${short === undefined ? "    " : `-${short}, `}--${name}${type === "string" ? ` <${value ?? "text"}>` : ""}`
  );
  const width = Math.max(...heads.map((head) => head.length));
  return Object.values(flags).map((flag, i) => `  ${(heads[i] ?? "").padEnd(width)}  ${flag.help}`);
}
