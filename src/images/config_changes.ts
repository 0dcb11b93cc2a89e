import { posix } from "node:path";
import * as v from "valibot";
import { Failure } from "../core/errors.ts";
import { parse } from "../core/parse.ts";

/** The part of an image's configuration that containers begin with. @see https://github.com/opencontainers/image-spec/blob/v1.1.0/config.md */
export type ContainerConfig = Readonly<Record<string, unknown>>;

const Words = v.nullish(v.array(v.string()));
const Things = v.nullish(v.record(v.string(), v.unknown()));

/** What instructions change; other fields stay as they are. */
const KnownSchema = v.looseObject({
  Cmd: Words,
  Entrypoint: Words,
  Env: Words,
  ExposedPorts: Things,
  Labels: v.nullish(v.record(v.string(), v.string())),
  OnBuild: Words,
  StopSignal: v.nullish(v.string()),
  User: v.nullish(v.string()),
  Volumes: Things,
  WorkingDir: v.nullish(v.string()),
});
type Known = v.InferOutput<typeof KnownSchema>;

/** What one instruction does, given what stands behind its name. */
type Instruction = (config: Known, argument: string, earlier: readonly string[]) => Known;

const instructions: Readonly<Record<string, Instruction>> = {
  CMD: (config, argument) => ({ ...config, Cmd: command(argument) }),
  // An entry point takes other arguments than the one before: the old command goes, unless it was given just now.
  ENTRYPOINT: (config, argument, earlier) => ({
    ...config,
    Entrypoint: command(argument),
    Cmd: earlier.includes("CMD") ? config.Cmd : undefined,
  }),
  ENV: (config, argument) => ({ ...config, Env: withVariables(config.Env ?? [], pairs(argument)) }),
  EXPOSE: (config, argument) => ({ ...config, ExposedPorts: { ...config.ExposedPorts, ...ports(argument) } }),
  LABEL: (config, argument) => ({ ...config, Labels: { ...config.Labels, ...Object.fromEntries(pairs(argument)) } }),
  ONBUILD: (config, argument) => ({ ...config, OnBuild: [...config.OnBuild ?? [], argument] }),
  STOPSIGNAL: (config, argument) => ({ ...config, StopSignal: single(argument) }),
  USER: (config, argument) => ({ ...config, User: single(argument) }),
  VOLUME: (config, argument) => ({
    ...config,
    Volumes: {
      ...config.Volumes,
      ...Object.fromEntries((list(argument) ?? words(argument)).map((path) => [path, {}])),
    },
  }),
  WORKDIR: (config, argument) => ({
    ...config,
    WorkingDir: posix.resolve(config.WorkingDir || "/", words(argument).join(" ")),
  }),
};

/**
 * Applies Dockerfile instructions to an image's configuration, as `docker commit --change` does.
 * @param changes for example `CMD ["/bin/sh"]`, `ENV A=1 B="2 3"`.
 * @throws invalid_argument for an instruction that is malformed or changes no configuration.
 */
export function changeConfig(config: ContainerConfig, changes: readonly string[]): ContainerConfig {
  let changed = parse(KnownSchema, config, "cannot change the image's configuration");
  const earlier: string[] = [];
  for (const change of changes) {
    const [, name = "", argument = ""] = /^([A-Za-z]+)\s+([^]*)$/.exec(change.trim()) ?? [];
    const key = name.toUpperCase();
    const apply = Object.hasOwn(instructions, key) ? instructions[key] : undefined;
    if (apply === undefined) {
      throw new Failure(
        "invalid_argument",
        `cannot apply change ${JSON.stringify(change)}: want one of ${
          Object.keys(instructions).join(", ")
        } and its value`,
      );
    }
    try {
      changed = apply(changed, argument, earlier);
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
      throw new Failure("invalid_argument", `cannot apply change ${JSON.stringify(change)}: ${error.message}`);
    }
    earlier.push(key);
  }
  return Object.fromEntries(Object.entries(changed).filter(([, value]) => value !== undefined));
}

/** A JSON list of words, or a line for the shell. */
function command(argument: string): string[] {
  if (argument === "") throw new SyntaxError("it has no command");
  return list(argument) ?? ["/bin/sh", "-c", argument];
}

function list(argument: string): string[] | undefined {
  if (!argument.startsWith("[")) return undefined;
  try {
    const parsed = v.safeParse(v.array(v.string()), JSON.parse(argument));
    return parsed.success ? parsed.output : undefined;
  } catch {
    // As Docker has it, what is no JSON is a line for the shell.
    return undefined;
  }
}

function single(argument: string): string {
  const [word, ...more] = words(argument);
  if (word === undefined || more.length > 0) throw new SyntaxError("want one value");
  return word;
}

function ports(argument: string): Record<string, object> {
  return Object.fromEntries(
    words(argument).map((word) => {
      const [, port, protocol = "tcp"] = /^(\d{1,5}(?:-\d{1,5})?)(?:\/(tcp|udp|sctp))?$/i.exec(word) ?? [];
      if (port === undefined) throw new SyntaxError(`${JSON.stringify(word)} is no port: want 80 or 53/udp`);
      return [`${port}/${protocol.toLowerCase()}`, {}];
    }),
  );
}

/** `A=1 B="2 3"`, or the older `A everything behind it`. */
function pairs(argument: string): [string, string][] {
  const [first = "", ...more] = words(argument);
  if (!first.includes("=")) {
    if (more.length === 0) throw new SyntaxError("want name=value");
    return [[first, argument.slice(argument.indexOf(first) + first.length).trim()]];
  }
  return [first, ...more].map((word) => {
    const equals = word.indexOf("=");
    if (equals < 1) throw new SyntaxError(`${JSON.stringify(word)} is no name=value`);
    return [word.slice(0, equals), word.slice(equals + 1)];
  });
}

function withVariables(variables: readonly string[], changed: readonly (readonly [string, string])[]): string[] {
  const values = new Map(variables.map((variable) => {
    const equals = variable.indexOf("=");
    return equals < 0 ? [variable, ""] : [variable.slice(0, equals), variable.slice(equals + 1)];
  }));
  for (const [name, value] of changed) values.set(name, value);
  return Array.from(values, ([name, value]) => `${name}=${value}`);
}

/** Words between spaces; quotes and backslashes keep a space in one. */
function words(text: string): string[] {
  const found = text.match(/(?:\\[^]|"(?:\\[^]|[^"\\])*"|'[^']*'|[^\s"'\\])+|["'\\]/g) ?? [];
  return found.map((word) => {
    if (/^["'\\]$/.test(word)) throw new SyntaxError(`a ${word} has no end`);
    return word.replace(
      /\\([^])|"((?:\\[^]|[^"\\])*)"|'([^']*)'/g,
      (_, escaped, double, quoted) => escaped ?? quoted ?? String(double).replace(/\\(["\\$])/g, "$1"),
    );
  });
}
