import type { ImageConfig } from "../core/descriptor.ts";
import { Failure } from "../core/errors.ts";
import type { FunctionSettings } from "../core/function.ts";

/** An image for OpenFaaS: its command is a watchdog, which answers HTTP with what another program does. */
export interface Watchdog {
  /** `http`: the other program is a server of its own, behind the watchdog. Else it is run for each request. */
  readonly mode: string;
  /** The other program and its arguments, which know no quotes. */
  readonly process: readonly string[];
  /** Where it answers. */
  readonly port: number;
}

/** Modes of of-watchdog in which it runs a program for each request; the classic watchdog, which has no mode, always does. */
const forking: ReadonlySet<string> = new Set(["", "streaming", "serializing"]);

/**
 * Tells whether an image has a watchdog, and what is set for it.
 * @param env what the function sets, over the image's own.
 * @see https://docs.openfaas.com/architecture/watchdog/
 */
export function watchdogOf(
  { config }: Pick<ImageConfig, "config">,
  env: Readonly<Record<string, string>>,
): Watchdog | undefined {
  const words = [...config?.Entrypoint ?? [], ...config?.Cmd ?? []];
  if (words.length !== 1 || !/(?:^|\/)fwatchdog$/.test(words[0] ?? "")) return undefined;
  const set = (name: string) =>
    env[name] ?? config?.Env?.findLast((entry) => entry.startsWith(`${name}=`))?.slice(name.length + 1) ?? "";
  const process = set("fprocess") || set("function_process");
  const port = /^\d{1,5}$/.test(set("port")) ? Number(set("port")) : 8080;
  return { mode: set("mode"), process: wordsOf(process), port };
}

/** `cat -n` → `["cat", "-n"]`, as watchdogs split it: there are no quotes. */
export function wordsOf(process: string): string[] {
  return process.split(" ").filter((word) => word !== "");
}

/**
 * The command that an image's watchdog would run for each request, which is what is done here: it takes the body on stdin,
 * answers on stdout, and finds its request in the environment, in either case.
 * @returns undefined for other images, and where the function says itself what runs.
 * @throws invalid_argument for a watchdog in front of a server, or without anything to run.
 */
export function watchdogCommand(
  image: Pick<ImageConfig, "config">,
  { command, args, env, protocol = "stdio" }: Pick<FunctionSettings, "command" | "args" | "env" | "protocol">,
): string[] | undefined {
  if (command !== undefined || args !== undefined || protocol !== "stdio") return undefined;
  const watchdog = watchdogOf(image, env);
  if (watchdog === undefined) return undefined;
  const { mode, process } = watchdog;
  if (!forking.has(mode)) {
    throw new Failure(
      "invalid_argument",
      `cannot run OpenFaaS's of-watchdog in mode ${JSON.stringify(mode)} for each request: choose protocol "http"`,
      { details: { field: "protocol" } },
    );
  }
  if (process.length > 0) return [...process];
  throw new Failure(
    "invalid_argument",
    "cannot run an image of OpenFaaS's watchdog: neither it nor the function says what to run: set fprocess in its " +
      "environment",
    { details: { field: "env" } },
  );
}
