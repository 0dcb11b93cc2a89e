import { renameSync, writeFileSync } from "node:fs";
import { Failure } from "../core/errors.ts";
import type { Spec, SpecProcess } from "../core/spec.ts";
import type { DetachedOptions, DetachedProcess } from "../core/detached.ts";
import { type Flags, isSet, text, wholeNumber } from "./arguments.ts";
import { readBundle } from "./bundle.ts";
import { ownTerminal } from "./foreground.ts";
import { cgroupPathOf } from "./cgroup_path.ts";
import type { OciContext } from "./command.ts";
import { processInfo } from "./process_info.ts";
import type { ContainerRecord } from "./state_store.ts";

/** The flags of commands that make a process. */
export const processFlags: Flags = {
  "console-socket": { type: "text", help: "Unix socket that is sent the terminal's master" },
  "pid-file": { type: "text", help: "file to write the process's id to" },
  "preserve-fds": { type: "text", help: "how many descriptors behind the standard streams it keeps" },
};

/** The flags of commands that make a container. */
export const containerFlags: Flags = {
  bundle: { type: "text", short: "b", help: "the bundle's folder (default: the current one)" },
  ...processFlags,
  "no-pivot": { type: "boolean", help: "leave the root by moving mounts, not by pivot_root(2)" },
  "no-new-keyring": { type: "boolean", help: "keep the caller's session keyring" },
};

/** A container that was made by this command. */
export interface Made {
  readonly record: ContainerRecord;
  readonly init: DetachedProcess;
}

/**
 * Makes a container of a bundle. Where that fails, nothing is left.
 * @param options.foreground whether this command stays, and can carry a terminal's input and output. Default false.
 */
export async function makeContainer(
  context: OciContext,
  id: string,
  { foreground = false }: { readonly foreground?: boolean } = {},
): Promise<Made> {
  const { store, systemdCgroup } = context;
  const bundle = readBundle(text(context, "bundle") ?? ".");
  const { root } = bundle;
  const process = await withTerminal(context, bundle.spec.process, foreground);
  const spec: Spec = { ...bundle.spec, process };
  const options: DetachedOptions = {
    ...detachedOptions(context),
    pivot: !isSet(context, "no-pivot"),
    keyring: !isSet(context, "no-new-keyring"),
  };
  const cgroupPath = cgroupPathOf(id, spec, systemdCgroup);
  const folder = store.reserve(id);
  try {
    const created = new Date().toISOString();
    const unmade = { id, bundle: bundle.folder, spec, root, folder, cgroupPath, created, pid: 0, startTicks: "" };
    store.save(unmade);
    const init = await (await context.runtime()).create(unmade, options);
    const startTicks = processInfo(init.pid)?.startTicks ?? "";
    const record = { ...unmade, pid: init.pid, startTicks };
    store.save(record);
    writePidFile(context, init.pid);
    return { record, init };
  } catch (error) {
    store.remove(id);
    throw error;
  }
}

/** What a process that is made gets beside its configuration. */
export function detachedOptions(context: OciContext): DetachedOptions {
  const consoleSocket = text(context, "console-socket");
  const preserved = wholeNumber(context, "preserve-fds") ?? 0;
  return { preserved, ...(consoleSocket === undefined ? {} : { consoleSocket }) };
}

/**
 * A process as it is made: one whose terminal this command carries has the size of this command's own.
 * @throws invalid_argument where there is nobody to give a terminal to, or no terminal to give.
 */
export async function withTerminal(
  context: OciContext,
  process: SpecProcess,
  foreground: boolean,
): Promise<SpecProcess> {
  const socket = text(context, "console-socket");
  const terminal = process.terminal === true;
  if (terminal && socket === undefined && !foreground) {
    throw new Failure(
      "invalid_argument",
      "cannot make a terminal: --console-socket is missing, which is sent its master when nobody stays to carry it",
    );
  }
  if (!terminal && socket !== undefined) {
    throw new Failure(
      "invalid_argument",
      "cannot use --console-socket: the process has no terminal (process.terminal)",
    );
  }
  if (!terminal || socket !== undefined) return process;
  const size = ownTerminal((await context.machine()).kernel)?.size;
  return size === undefined ? process : { ...process, consoleSize: { ...size } };
}

/** A reader sees the whole id, or no file. */
export function writePidFile(context: OciContext, pid: number): void {
  const file = text(context, "pid-file");
  if (file === undefined) return;
  writeFileSync(`${file}.new`, String(pid));
  renameSync(`${file}.new`, file);
}
