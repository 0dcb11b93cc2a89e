import type { Command } from "./command.ts";
import { deploy } from "./deploy.ts";
import { doctor } from "./doctor.ts";
import { exportCommand } from "./export.ts";
import { functions } from "./functions.ts";
import { images } from "./images.ts";
import { importCommand } from "./import.ts";
import { invoke } from "./invoke.ts";
import { logs } from "./logs.ts";
import { plugins } from "./plugins.ts";
import { ps } from "./ps.ts";
import { pull } from "./pull.ts";
import { rm } from "./rm.ts";
import { rmi } from "./rmi.ts";
import { run } from "./run.ts";
import { serve } from "./serve.ts";

/** Every command, in the order in which a newcomer meets them. */
export const commands: readonly Command[] = [
  serve,
  doctor,
  pull,
  importCommand,
  exportCommand,
  images,
  rmi,
  run,
  deploy,
  invoke,
  functions,
  rm,
  ps,
  logs,
  plugins,
];

/** The text of `mayfly --help`. */
export function overview(): string {
  const width = Math.max(...commands.map((command) => command.name.length));
  return [
    "Mayfly runs containerized jobs over HTTP: every request gets a fresh container.",
    "",
    "  mayfly <command> [options]",
    "",
    ...commands.map((command) => `  ${command.name.padEnd(width)}  ${command.summary}`),
    "",
    "`mayfly <command> --help` says more. Commands reach the running daemon, or work in their own process where none runs.",
  ].join("\n");
}
