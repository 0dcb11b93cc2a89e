import { Failure } from "../core/errors.ts";

/** One flag, in the manner of runc: `--bundle x`, `--bundle=x`, `-b x`, `-bundle x`. */
export interface Flag {
  readonly type: "text" | "boolean" | "list";
  readonly short?: string;
  readonly help: string;
}

export type Flags = Readonly<Record<string, Flag>>;

/** What a command was given. */
export interface Given {
  readonly values: ReadonlyMap<string, string | boolean | readonly string[]>;
  readonly words: readonly string[];
}

/**
 * Reads flags up to the first word that is none; `passThrough` names how many words may stand before flags end for good, so
 * that `exec -t x ls -l` gives `-l` to the process while `kill x --all` is understood.
 * @throws invalid_argument for an unknown flag, or one without its value.
 */
export function parseFlags(args: readonly string[], flags: Flags, lastWord = Infinity): Given {
  const values = new Map<string, string | boolean | readonly string[]>();
  const words: string[] = [];
  for (let i = 0; i < args.length; i++) {
    const arg = args[i] ?? "";
    if (arg === "--") return { values, words: [...words, ...args.slice(i + 1)] };
    if (!arg.startsWith("-") || arg === "-") {
      words.push(arg);
      if (words.length >= lastWord) return { values, words: [...words, ...args.slice(i + 1)] };
      continue;
    }
    const [name = "", ...rest] = arg.replace(/^--?/, "").split("=");
    const found = Object.entries(flags).find(([long, { short }]) => name === long || name === short);
    if (found === undefined) {
      throw new Failure("invalid_argument", `unknown flag ${JSON.stringify(arg)}: see --help`);
    }
    const [long, { type }] = found;
    const inline = rest.length > 0 ? rest.join("=") : undefined;
    if (type === "boolean") {
      values.set(long, inline !== "false");
      continue;
    }
    const value = inline ?? args[++i];
    if (value === undefined) throw new Failure("invalid_argument", `flag --${long} needs a value`);
    const before = values.get(long);
    values.set(long, type === "list" ? [...typeof before === "object" ? before : [], value] : value);
  }
  return { values, words };
}

/** A flag's text. */
export function text({ values }: Given, name: string): string | undefined {
  const value = values.get(name);
  return typeof value === "string" ? value : undefined;
}

export function isSet({ values }: Given, name: string): boolean {
  return values.get(name) === true;
}

/** What a flag that may be given often was given. */
export function texts({ values }: Given, name: string): readonly string[] {
  const value = values.get(name);
  return typeof value === "object" ? value : [];
}

/** @throws invalid_argument for what is no whole number. */
export function wholeNumber(given: Given, name: string): number | undefined {
  const value = text(given, name);
  if (value === undefined) return undefined;
  const number = Number(value);
  if (/^-?\d+$/.test(value) && Number.isSafeInteger(number)) return number;
  throw new Failure("invalid_argument", `--${name} is ${JSON.stringify(value)}, wanted a whole number`);
}

/** The text of `mayfly oci <command> --help`. */
export function describe(flags: Flags): string {
  const heads = Object.entries(flags).map(([name, { short, type }]) =>
    `${short === undefined ? "    " : `-${short}, `}--${name}${type === "boolean" ? "" : " <value>"}`
  );
  const width = Math.max(0, ...heads.map(({ length }) => length));
  return Object.values(flags).map(({ help }, i) => `  ${(heads[i] ?? "").padEnd(width)}  ${help}`).join("\n");
}
