import { Failure } from "../core/errors.ts";
import type { FunctionInput } from "../core/function.ts";
import { result } from "./answer.ts";
import { type Command, type Flag, type FlagValues, text, texts } from "./command.ts";
import { byteCount, milliseconds, namespaceFlag, number, pairs, scope } from "./flags.ts";
import { mountFlags, mounts } from "./mount_flags.ts";
import { networkFields, networkFlags } from "./network_flags.ts";
import { buildSource, languageFor, readSource } from "./source.ts";
import { answersAll, splitText } from "./traffic_text.ts";

/** What `deploy` and `run` say of a container. */
export const settingsFlags: Readonly<Record<string, Flag>> = {
  env: { type: "string", short: "e", multiple: true, value: "NAME=value", help: "environment; may be given often" },
  user: { type: "string", value: "user", help: "uid, uid:gid or a name that the image knows" },
  workdir: { type: "string", short: "w", value: "path", help: "in place of the image's" },
  entrypoint: { type: "boolean", help: "the words behind the image replace its entrypoint too" },
  memory: { type: "string", short: "m", value: "size", help: "limit of memory, as 256m (the default)" },
  cpus: { type: "string", value: "number", help: "processors it may use, as 0.5 (default 1)" },
  pids: { type: "string", value: "number", help: "processes and threads it may have (default 512)" },
  timeout: { type: "string", value: "time", help: "limit from start to end, as 500ms, 30s, 5m (default 60s)" },
  scratch: { type: "string", value: "size", help: "limit of what it may write, in memory (default 64m)" },
  "read-only": { type: "boolean", help: "its root filesystem cannot be written" },
  ...mountFlags,
  ...networkFlags,
  userns: { type: "string", value: "host|auto", help: "auto: users of its namespace's own; root is nobody outside" },
  restore: { type: "boolean", help: "the image is a checkpoint: go on from there, see `mayfly checkpoint`" },
  "function-runtime": { type: "string", value: "id", help: "the runtime plugin" },
  "function-snapshotter": { type: "string", value: "id", help: "the snapshotter plugin" },
};

export const deploy: Command = {
  name: "deploy",
  summary: "make a function of an image, or of source files; again, to replace it",
  usage:
    "deploy [options] <name> --image <reference> [--] [argument…]\n  mayfly deploy [options] ./file|./folder [--] [argument…]",
  examples: [
    "mayfly deploy upper --image busybox -- tr a-z A-Z",
    "mayfly deploy app --image localhost/team/app:1 --follow",
    "mayfly deploy ./handler.js",
    "mayfly deploy ./folder --entry bin/tool --name tool --image debian:stable-slim",
    "mayfly deploy resize --image team/resize:3 -m 1g --timeout 20s -e QUALITY=80",
  ],
  words: { min: 1, max: Infinity },
  flags: {
    ...namespaceFlag,
    image: {
      type: "string",
      value: "reference",
      help: "an image that is here, or one that is pulled first; what source files lie over",
    },
    name: {
      type: "string",
      value: "name",
      help: "of a function of source files; default: as the file or folder is called",
    },
    entry: { type: "string", value: "file", help: "which file of the folder is run; default: handler, main or index" },
    follow: { type: "boolean", help: "deploy it again whenever the image's name points at something new" },
    ...settingsFlags,
    protocol: {
      type: "string",
      value: "stdio|http|lambda|fn",
      help: "http: its containers serve HTTP on $PORT, and live on; lambda, fn: they are AWS Lambda's, Fn's",
    },
    reuse: { type: "boolean", help: "with lambda: a container takes one event after the other, not one alone" },
    port: { type: "string", value: "number", help: "where they do (default 8080)" },
    "ready-path": {
      type: "string",
      value: "/path",
      help: "they are ready when it answers; default: when PORT accepts",
    },
    "start-timeout": { type: "string", value: "time", help: "limit until they are ready (default 30s)" },
    "min-instances": { type: "string", value: "number", help: "how many of them are kept ready (default 0)" },
    "max-instances": { type: "string", value: "number", help: "the most of them (default 4); more requests wait" },
    idle: { type: "string", value: "time", help: "how long one lives without a request (default 60s)" },
    "no-freeze": { type: "boolean", help: "it runs on while it has no request" },
    "stop-grace": { type: "string", value: "time", help: "from SIGTERM to SIGKILL (default 10s)" },
    concurrency: {
      type: "string",
      value: "number",
      help: "invocations at once, with http in one container (default 64); one more gets 429",
    },
    auth: { type: "string", value: "none|token", help: "token: who calls it needs a token of scope invoke" },
    rate: {
      type: "string",
      value: "rate",
      help: "how often it may be called, as 100/s, 600/m or 1000/h; more gets 429",
    },
    "cors-origin": {
      type: "string",
      multiple: true,
      value: "origin",
      help: "pages from there may call it, as https://app.example, or * for all; may be given often",
    },
    "reserved-concurrency": {
      type: "string",
      value: "number",
      help: "places of all functions' that are kept for its invocations (default 0)",
    },
    schedule: {
      type: "string",
      multiple: true,
      value: "cron",
      help: "call it by the clock (UTC), as '*/5 * * * *'; may be given often",
    },
    missed: {
      type: "string",
      value: "skip|once|all",
      help: "whether runs that fell into a time without a daemon are made up for (default skip)",
    },
    "on-success": {
      type: "string",
      value: "name",
      help: "function that is told of each asynchronous call that has succeeded",
    },
    "on-failure": { type: "string", value: "name", help: "function that is told of each that has failed" },
    secret: {
      type: "string",
      multiple: true,
      value: "name",
      help: "show it as the file /run/secrets/<name>, see `mayfly secret`; may be given often",
    },
    prepared: { type: "string", value: "number", help: "containers that wait for a request, each for one (default 0)" },
    "prepared-max": {
      type: "string",
      value: "number",
      help: "the most: as many as the largest burst took, until none comes for --idle (default: as --prepared)",
    },
    "max-body": { type: "string", value: "size", help: "limit of a request's body (default 64m; 0 for none)" },
    "body-timeout": { type: "string", value: "time", help: "wait for a slow caller's body (default 30s; 0 for none)" },
    answer: { type: "string", value: "body|cgi", help: "cgi: its output begins with header fields, Status among them" },
    "content-type": { type: "string", value: "type", help: "of its answers (default application/octet-stream)" },
    "no-traffic": { type: "boolean", help: "requests stay with the revisions that answer them now" },
    tag: { type: "string", value: "name", help: "reach the new revision as /fn/<name>@<tag>" },
    label: { type: "string", multiple: true, value: "NAME=value", help: "a label; may be given often" },
    annotation: { type: "string", multiple: true, value: "NAME=value", help: "a note of yours; may be given often" },
  },
  async run({ connect, config, words: [word = "", ...args], flags, output }) {
    // No function's name has a slash.
    const source = word.includes("/") ? readSource(word, config.sources, text(flags, "entry")) : undefined;
    const name = source === undefined ? word : text(flags, "name") ?? source.name;
    const given = text(flags, "image");
    const language = source && languageFor(source, config.sources);
    if (source === undefined && given === undefined) {
      throw new Failure(
        "invalid_argument",
        "mayfly deploy: it wants --image <reference>, or a path with a slash as ./handler.js\n" +
          `usage: mayfly ${deploy.usage}`,
      );
    }
    const misplaced = ["name", "entry"].find((flag) => flags[flag] !== undefined);
    if (source === undefined && misplaced !== undefined) {
      throw new Failure(
        "invalid_argument",
        `mayfly deploy: --${misplaced} is for source files: wanted a path with a slash in the place of ${
          JSON.stringify(word)
        }`,
      );
    }
    const input = {
      follow: flags["follow"] === true ? true : undefined,
      ...settings(flags, args),
      protocol: text(flags, "protocol"),
      reuse: flags["reuse"] === true ? true : undefined,
      port: number("port", text(flags, "port")),
      readyPath: text(flags, "ready-path"),
      startTimeoutMs: milliseconds("start-timeout", text(flags, "start-timeout")),
      minInstances: number("min-instances", text(flags, "min-instances")),
      maxInstances: number("max-instances", text(flags, "max-instances")),
      idleMs: milliseconds("idle", text(flags, "idle")),
      freeze: flags["no-freeze"] === true ? false : undefined,
      stopGraceMs: milliseconds("stop-grace", text(flags, "stop-grace")),
      concurrency: number("concurrency", text(flags, "concurrency")),
      reservedConcurrency: number("reserved-concurrency", text(flags, "reserved-concurrency")),
      auth: text(flags, "auth"),
      rate: text(flags, "rate"),
      corsOrigins: texts(flags, "cors-origin").length === 0 ? undefined : texts(flags, "cors-origin"),
      schedules: schedules(texts(flags, "schedule"), text(flags, "missed")),
      asyncOnSuccess: text(flags, "on-success"),
      asyncOnFailure: text(flags, "on-failure"),
      secrets: texts(flags, "secret"),
      prepared: number("prepared", text(flags, "prepared")),
      preparedMax: number("prepared-max", text(flags, "prepared-max")),
      maxBodyBytes: byteCount("max-body", text(flags, "max-body")),
      bodyTimeoutMs: milliseconds("body-timeout", text(flags, "body-timeout")),
      answer: text(flags, "answer"),
      contentType: text(flags, "content-type"),
      labels: pairs("label", texts(flags, "label")),
      annotations: pairs("annotation", texts(flags, "annotation")),
    } satisfies Fields;
    await using connection = await connect();
    const image = source === undefined || language === undefined
      ? given ?? ""
      : (await buildSource(connection, source, { language, base: given, name, ...scope(flags) })).name;
    const record = await result(connection.api.v1.functions[":name"].$put({
      param: { name },
      query: {
        ...scope(flags),
        traffic: flags["no-traffic"] === true ? "false" : undefined,
        tag: text(flags, "tag"),
      },
      json: { image, ...input },
    }));
    output.line(
      output.json
        ? JSON.stringify(record, undefined, 2)
        : `${record.name} revision ${record.revision}, POST /fn/${record.name}`,
    );
    if (!output.json && !answersAll(record)) output.note(`traffic: ${splitText(record.traffic)}`);
    return 0;
  },
};

/** Fields of a function's input, for the daemon to parse; JSON leaves out what is undefined. */
type Fields = { readonly [Name in Exclude<keyof FunctionInput, "image">]?: unknown };

/** The part of a function's input that `settingsFlags` describe. */
export function settings(flags: FlagValues, args: readonly string[]): Fields {
  return {
    ...(args.length === 0 ? {} : flags["entrypoint"] === true ? { command: args } : { args }),
    env: pairs("env", texts(flags, "env")),
    user: text(flags, "user"),
    workdir: text(flags, "workdir"),
    memoryBytes: byteCount("memory", text(flags, "memory")),
    cpus: number("cpus", text(flags, "cpus")),
    pids: number("pids", text(flags, "pids")),
    timeoutMs: milliseconds("timeout", text(flags, "timeout")),
    scratchBytes: byteCount("scratch", text(flags, "scratch")),
    readonlyRootfs: flags["read-only"] === true ? true : undefined,
    mounts: mounts(flags),
    ...networkFields(flags),
    userns: text(flags, "userns"),
    restore: flags["restore"] === true ? true : undefined,
    runtime: text(flags, "function-runtime"),
    snapshotter: text(flags, "function-snapshotter"),
  };
}

/** One policy for all of them: who wants another for each asks the API. */
function schedules(crons: readonly string[], missed: string | undefined): Fields["schedules"] {
  if (crons.length > 0) {
    const policy = { missed, ...(missed === "all" ? { overlap: "queue" } : {}) };
    return crons.map((cron) => ({ cron, ...policy }));
  }
  if (missed === undefined) return undefined;
  throw new Failure(
    "invalid_argument",
    "mayfly deploy: --missed is for what runs by the clock: give it a --schedule too",
  );
}
