import type { Command } from "./command.ts";
import { attach } from "./attach.ts";
import { calls } from "./calls.ts";
import { checkpoint } from "./checkpoint.ts";
import { commit } from "./commit.ts";
import { content } from "./content.ts";
import { cp } from "./cp.ts";
import { deploy } from "./deploy.ts";
import { diff } from "./diff.ts";
import { doctor } from "./doctor.ts";
import { events } from "./events.ts";
import { exec } from "./exec.ts";
import { exportCommand } from "./export.ts";
import { functions } from "./functions.ts";
import { gc } from "./gc.ts";
import { images } from "./images.ts";
import { importCommand } from "./import.ts";
import { inspect } from "./inspect.ts";
import { invoke } from "./invoke.ts";
import { kill } from "./kill.ts";
import { load } from "./load.ts";
import { logs } from "./logs.ts";
import { namespaces } from "./namespaces.ts";
import { newCommand } from "./new.ts";
import { pause } from "./pause.ts";
import { plugins } from "./plugins.ts";
import { ps } from "./ps.ts";
import { pull } from "./pull.ts";
import { push } from "./push.ts";
import { revisions } from "./revisions.ts";
import { rm } from "./rm.ts";
import { rmi } from "./rmi.ts";
import { run } from "./run.ts";
import { save } from "./save.ts";
import { secret } from "./secret.ts";
import { serve } from "./serve.ts";
import { snapshots } from "./snapshots.ts";
import { start } from "./start.ts";
import { stats } from "./stats.ts";
import { stop } from "./stop.ts";
import { system } from "./system.ts";
import { tag } from "./tag.ts";
import { token } from "./token.ts";
import { top } from "./top.ts";
import { rollback, traffic } from "./traffic.ts";
import { unpause } from "./unpause.ts";
import { update } from "./update.ts";
import { verify } from "./verify.ts";
import { wait } from "./wait.ts";

interface Group {
  readonly title: string;
  readonly commands: readonly Command[];
}

/** Every command, by what it is about, in the order in which a newcomer meets them. */
const groups: readonly Group[] = [
  { title: "The daemon", commands: [serve, doctor] },
  {
    title: "Functions",
    commands: [newCommand, deploy, invoke, functions, revisions, traffic, rollback, calls, secret],
  },
  { title: "Images", commands: [pull, push, images, tag, verify, rmi, importCommand, exportCommand, load, save] },
  {
    title: "Containers",
    commands: [
      ...[run, ps, logs, exec, attach, start, stop, kill, wait, pause, unpause, update, rm],
      ...[inspect, top, stats, cp, diff, commit, checkpoint],
    ],
  },
  { title: "Operations", commands: [events, token, namespaces, plugins, snapshots, system, gc, content] },
];

export const commands: readonly Command[] = groups.flatMap((group) => group.commands);

/** The text of `mayfly --help`. */
export function overview(): string {
  const width = Math.max(...commands.map((command) => command.name.length));
  return [
    "Mayfly runs containerized jobs over HTTP: every request gets a fresh container.",
    "",
    "  mayfly <command> [options]",
    ...groups.flatMap(({ title, commands }) => [
      "",
      `${title}:`,
      ...commands.map((command) => `  ${command.name.padEnd(width)}  ${command.summary}`),
    ]),
    "",
    "`mayfly <command> --help` says more. Commands reach the running daemon, or work in their own process where none runs.",
    "`mayfly oci --help` is the command line of an OCI runtime, without a daemon.",
  ].join("\n");
}
