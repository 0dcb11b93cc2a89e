import { codeOf, Failure } from "../core/errors.ts";
import { formatReference, parseReference } from "../core/reference.ts";
import { decodeFrames } from "../core/stdio_frames.ts";
import { result, succeeded } from "./answer.ts";
import { type Command, text } from "./command.ts";
import { settings, settingsFlags } from "./deploy.ts";
import { namespaceFlag } from "./flags.ts";
import type { Output } from "./output.ts";
import { pullImage } from "./pull.ts";
import { standardInput } from "./stdin.ts";

export const run: Command = {
  name: "run",
  summary: "run a container from an image; its exit code becomes this command's",
  usage: "run [options] <reference> [argument…]",
  examples: ["mayfly run busybox ls -l /", "tar c . | mayfly run -i busybox tar t"],
  words: { min: 1, max: Infinity },
  passesRest: true,
  flags: {
    ...namespaceFlag,
    interactive: { type: "boolean", short: "i", help: "give it this command's standard input" },
    ...settingsFlags,
  },
  async run({ connect, host, words: [reference = "", ...args], flags, output }) {
    const namespace = text(flags, "namespace");
    const image = formatReference(parseReference(reference));
    await using connection = await connect();
    const { items: here } = await result(connection.api.v1.images.$get({ query: { namespace } }));
    if (!here.some((candidate) => candidate.name === image)) {
      output.note(`${image} is not here: pulling it`);
      await pullImage(connection, output, { reference: image, namespace });
    }
    const interrupted = new AbortController();
    const off = (["SIGINT", "SIGTERM"] as const).map((signal) => host.onSignal(signal, () => interrupted.abort()));
    try {
      const query = { namespace, settings: JSON.stringify({ image, ...settings(flags, args) }) };
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
  },
};

interface Outcome {
  readonly exit?: { readonly code: number; readonly oomKilled: boolean };
  readonly error?: { readonly code: string; readonly detail: string; readonly exitCode?: number };
}

/** The exit status of a run. @throws what kept the container from running. */
function outcome({ exit, error }: Outcome, output: Output): number {
  if (error !== undefined) {
    throw new Failure(codeOf(error), error.detail, { details: { exitCode: error.exitCode } });
  }
  if (exit?.oomKilled === true) {
    output.note("mayfly: out of memory: a process was killed at the container's limit, raise --memory");
  }
  return exit?.code ?? 1;
}
