import { Failure } from "../../core/errors.ts";
import { parse } from "../../core/parse.ts";
import { ProcessSchema, type SpecProcess } from "../../core/spec.ts";
import { isSet, text, texts } from "../arguments.ts";
import { readJson } from "../bundle.ts";
import { type OciCommand, type OciContext, readInput } from "../command.ts";
import { waitInForeground } from "../foreground.ts";
import { detachedOptions, processFlags, withTerminal, writePidFile } from "../making.ts";
import { wantStatus } from "../status.ts";

export const exec: OciCommand = {
  name: "exec",
  summary: "execute one more process in a container that runs",
  usage: "exec [options] <id> <command> [argument…]  |  exec [options] --process <file> <id>",
  flags: {
    ...processFlags,
    process: { type: "text", short: "p", help: "file with the process's configuration, as `process` of config.json" },
    tty: { type: "boolean", short: "t", help: "give it a terminal" },
    user: { type: "text", short: "u", help: "<uid>[:<gid>]" },
    "additional-gids": { type: "list", short: "g", help: "a group more" },
    env: { type: "list", short: "e", help: "NAME=value" },
    cwd: { type: "text", help: "its working folder" },
    cap: { type: "list", short: "c", help: "a capability more" },
    "no-new-privs": { type: "boolean", help: "it may gain no privileges" },
    "process-label": { type: "text", help: "its SELinux label" },
    apparmor: { type: "text", help: "its AppArmor profile" },
    detach: { type: "boolean", short: "d", help: "do not wait for its end" },
    "ignore-paused": { type: "boolean", help: "do not refuse a container that is paused" },
    "no-subreaper": { type: "boolean", help: "taken and without effect" },
    cgroup: { type: "text", help: "taken where it names the container's own" },
  },
  asRoot: true,
  words: { min: 1, max: Infinity },
  lastWord: 1,
  async run(context) {
    const { store, words: [id = "", ...args] } = context;
    const record = store.load(id);
    if (isSet(context, "ignore-paused")) wantStatus(record, "execute a process in", "running", "paused");
    else wantStatus(record, "execute a process in", "running");
    const detach = isSet(context, "detach");
    const process = await withTerminal(context, processOf(context, record.spec.process, args), !detach);
    const runtime = await context.runtime();
    const made = await runtime.exec(record, { ...detachedOptions(context), pid: record.pid, process });
    writePidFile(context, made.pid);
    return detach ? 0 : await waitInForeground(context, made);
  },
};

/** The process's own configuration, or the container's with what the flags change. */
function processOf(context: OciContext, base: SpecProcess, args: readonly string[]): SpecProcess {
  const file = text(context, "process");
  if (file !== undefined) {
    return parse(ProcessSchema, readJson(readInput(file), file), `cannot use ${JSON.stringify(file)}`);
  }
  if (args.length === 0) throw new Failure("invalid_argument", "cannot execute: no command was given, nor --process");
  const user = userOf(context, base.user);
  const added = texts(context, "cap");
  const with_ = (set: readonly string[] | undefined) => [...new Set([...set ?? [], ...added])];
  const { bounding, effective, permitted } = base.capabilities ?? {};
  const capabilities = added.length === 0 ? base.capabilities : {
    ...base.capabilities,
    bounding: with_(bounding),
    effective: with_(effective),
    permitted: with_(permitted),
  };
  return parse(ProcessSchema, {
    ...base,
    args,
    user,
    capabilities,
    terminal: isSet(context, "tty"),
    env: [...base.env ?? [], ...texts(context, "env")],
    cwd: text(context, "cwd") ?? base.cwd,
    noNewPrivileges: base.noNewPrivileges === true || isSet(context, "no-new-privs"),
    apparmorProfile: text(context, "apparmor") ?? base.apparmorProfile,
    selinuxLabel: text(context, "process-label") ?? base.selinuxLabel,
  }, "cannot execute the process");
}

function userOf(context: OciContext, base: SpecProcess["user"]): object {
  const groups = texts(context, "additional-gids").map(Number);
  const additionalGids = [...base.additionalGids ?? [], ...groups];
  const user = text(context, "user");
  if (user === undefined) return { ...base, additionalGids };
  const match = /^(\d+)(?::(\d+))?$/.exec(user);
  if (match === null) throw new Failure("invalid_argument", `--user is ${JSON.stringify(user)}, wanted <uid>[:<gid>]`);
  return { ...base, uid: Number(match[1]), gid: Number(match[2] ?? 0), additionalGids };
}
