import type { ContainerMount } from "../core/container_mount.ts";
import { Failure } from "../core/errors.ts";
import { formatReference, parseReference } from "../core/reference.ts";
import { decodeFrames } from "../core/stdio_frames.ts";
import { done, result, succeeded } from "./answer.ts";
import { attached, detached } from "./attached.ts";
import { attachFlags, attachPath, detachKeysOf } from "./attach.ts";
import { type Command, type CommandContext, type Flag, text, texts } from "./command.ts";
import type { Connection } from "./connection.ts";
import { settings, settingsFlags } from "./deploy.ts";
import { byteCount, namespaceFlag, number, pairs } from "./flags.ts";
import { requireTerminal, terminalSize } from "./keyboard.ts";
import { mounts } from "./mount_flags.ts";
import { ofContainer } from "./named.ts";
import { networkFields } from "./network_flags.ts";
import { outcome } from "./outcome.ts";
import { publishedPort } from "./published_port.ts";
import { pullImage } from "./pull.ts";
import { requireDaemon } from "./require_daemon.ts";
import { standardInput } from "./stdin.ts";

const { "function-runtime": _runtime, "function-snapshotter": _snapshotter, ...shared } = settingsFlags;

/** Flags of what lives on, and those of what does not. */
const keptFlags: Readonly<Record<string, Flag>> = {
  detach: { type: "boolean", short: "d", help: "leave it running in the daemon, and print its id" },
  tty: { type: "boolean", short: "t", help: "give it a terminal" },
  name: { type: "string", value: "name", help: "a name of its own" },
  label: { type: "string", short: "l", multiple: true, value: "NAME=value", help: "a label; may be given often" },
  publish: {
    type: "string",
    short: "p",
    multiple: true,
    value: "[address:][port:]port",
    help: "a port of the machine (of its loopback, where no address is said) that leads to one of its own",
  },
  "stop-signal": { type: "string", value: "signal", help: "what `stop` sends first (default: the image's, else TERM)" },
};
const passingOnly = ["timeout", "scratch"] as const;

export const run: Command = {
  name: "run",
  summary: "run a container from an image; its exit code becomes this command's",
  usage: "run [options] <reference> [argument…]",
  examples: [
    "mayfly run busybox ls -l /",
    "tar c . | mayfly run -i busybox tar t",
    "mayfly run -it --rm busybox sh               # leave it running: ctrl-p ctrl-q, come back: mayfly attach",
    "mayfly run -d --name web nginx               # lives in the daemon: mayfly ps, logs, stop, start, rm",
    "mayfly run -d -p 8080:80 nginx                # http://127.0.0.1:8080 leads to it",
    "mayfly run --rm -v ./site:/www:ro busybox ls -l /www",
  ],
  notes: [
    "Without -d, -t, -p, --name or --label the container is removed with all it wrote when it ends, as with --rm, and has",
    "the limits of a function. With one of them it is kept, with no limits but those that are named.",
  ],
  words: { min: 1, max: Infinity },
  passesRest: true,
  flags: {
    ...namespaceFlag,
    ...keptFlags,
    interactive: { type: "boolean", short: "i", help: "give it this command's standard input" },
    rm: { type: "boolean", help: "remove it when it has ended" },
    ...shared,
    user: { type: "string", short: "u", value: "user", help: "uid, uid:gid or a name that the image knows" },
    entrypoint: { type: "string", value: "program", help: "in place of the image's entrypoint" },
    runtime: { type: "string", value: "id", help: "the runtime plugin" },
    snapshotter: { type: "string", value: "id", help: "the snapshotter plugin" },
    ...attachFlags,
  },
  async run(context) {
    const { connect, words: [reference = "", ...args], flags, output } = context;
    if (flags["tty"] === true && flags["interactive"] === true && flags["detach"] !== true) requireTerminal("-it");
    const image = formatReference(parseReference(reference));
    const namespace = text(flags, "namespace");
    await using connection = await connect();
    if (flags["detach"] === true) requireDaemon(connection, "run a container with -d");
    const { items: here } = await result(connection.api.v1.images.$get({ query: { namespace } }));
    if (!here.some((candidate) => candidate.name === image)) {
      output.note(`${image} is not here: pulling it`);
      await pullImage(connection, output, { reference: image, namespace });
    }
    const kept = Object.keys(keptFlags).some((flag) => flags[flag] !== undefined);
    return kept
      ? await runKept(context, connection, { image, args })
      : await runOnce(context, connection, { image, args });
  },
};

interface What {
  readonly image: string;
  readonly args: readonly string[];
}

/** Runs a container that is gone when it has ended. */
async function runOnce({ host, flags, output }: CommandContext, connection: Connection, { image, args }: What) {
  const interrupted = new AbortController();
  const off = (["SIGINT", "SIGTERM"] as const).map((signal) => host.onSignal(signal, () => interrupted.abort()));
  try {
    const { entrypoint: _, ...common } = flags;
    const query = {
      namespace: text(flags, "namespace"),
      settings: JSON.stringify({ image, ...settings(common, args), ...ownSettings({ flags }, args) }),
    };
    const init = {
      signal: interrupted.signal,
      ...(flags["interactive"] === true ? { body: standardInput(), duplex: "half" } : {}),
    };
    const answer = await succeeded(connection.api.v1.run.$post({ query }, { init }));
    for await (const { channel, payload } of decodeFrames(answer.body ?? new ReadableStream())) {
      if (channel === "stdout") await output.bytes(payload);
      else if (channel === "stderr") await output.errorBytes(payload);
      else return outcome(JSON.parse(new TextDecoder().decode(payload)), output);
    }
    throw new Failure("unavailable", "the container's outcome is not known: the daemon's answer broke off");
  } catch (error) {
    if (interrupted.signal.aborted) return 130;
    throw error;
  } finally {
    for (const end of off) end();
  }
}

/** Makes a container that is kept, and runs it. */
async function runKept({ host, flags, output }: CommandContext, connection: Connection, { image, args }: What) {
  const given = passingOnly.find((flag) => flags[flag] !== undefined);
  if (given !== undefined) {
    throw new Failure(
      "invalid_argument",
      `mayfly run: --${given} is for a container that does not live on: leave out -d, -t, -p, --name and --label`,
    );
  }
  const detach = flags["detach"] === true;
  const remove = flags["rm"] === true;
  const tty = flags["tty"] === true;
  const stdin = flags["interactive"] === true;
  const { api } = connection;
  const { id } = await result(api.v1.containers.$post({
    query: { namespace: text(flags, "namespace") },
    json: {
      image,
      env: pairs("env", texts(flags, "env")),
      user: text(flags, "user"),
      workdir: text(flags, "workdir"),
      memoryBytes: byteCount("memory", text(flags, "memory")),
      cpus: number("cpus", text(flags, "cpus")),
      pids: number("pids", text(flags, "pids")),
      readonlyRootfs: flags["read-only"] === true ? true : undefined,
      autoRemove: remove ? true : undefined,
      // The daemon says what is wrong with them.
      mounts: mounts(flags) as ContainerMount[] | undefined,
      ...networkFields(flags),
      userns: text(flags, "userns") as "auto",
      restore: flags["restore"] === true ? true : undefined,
      ...ownSettings({ flags }, args),
      name: text(flags, "name"),
      ports: texts(flags, "publish").length === 0 ? undefined : texts(flags, "publish").map(publishedPort),
      labels: pairs("label", texts(flags, "label")),
      stopSignal: text(flags, "stop-signal"),
      tty,
      stdinOpen: stdin,
    },
  }));
  if (detach) {
    await done(api.v1.containers[":id"].start.$post(ofContainer(id, flags)));
    output.line(id);
    return 0;
  }
  const forget = async () => {
    const { param, query } = ofContainer(id, flags);
    await done(api.v1.containers[":id"].$delete({ param, query: { ...query, force: "true" } }));
  };
  try {
    const size = tty ? terminalSize() : undefined;
    const socket = await connection.open(attachPath(id, flags, { start: "true", size }));
    const status = await attached(socket, {
      host,
      output,
      tty,
      stdin,
      detachKeys: detachKeysOf(flags, connection),
      // With a terminal, keys are signals: the container's terminal makes them.
      onSignal: tty ? undefined : (signal) => {
        const { param, query } = ofContainer(id, flags);
        void done(api.v1.containers[":id"].kill.$post({ param, query: { ...query, signal } })).catch(() => {});
      },
    });
    if (status !== detached) {
      return status;
    }
    output.note(`${id.slice(0, 12)} goes on: mayfly attach ${text(flags, "name") ?? id.slice(0, 12)}`);
    return 0;
  } catch (error) {
    // Its own failure is what is told.
    if (remove) await forget().catch(() => {});
    throw error;
  }
}

/** What `run` says in words of its own. */
function ownSettings({ flags }: Pick<CommandContext, "flags">, args: readonly string[]) {
  const entrypoint = text(flags, "entrypoint");
  return {
    ...(entrypoint === undefined ? {} : { command: [entrypoint] }),
    args: args.length === 0 && entrypoint === undefined ? undefined : [...args],
    runtime: text(flags, "runtime"),
    snapshotter: text(flags, "snapshotter"),
  };
}
