import { rmSync } from "node:fs";
import type { ExecOptions, Process, ProcessExit, TerminalSize } from "../../src/core/task.ts";
import type { NewTaskEvent } from "../../src/core/task_events.ts";
import { SIGKILL } from "../../src/linux/flags.ts";
import { checkSignal } from "../../src/linux/signal.ts";
import type { Stages } from "../../src/linux/stages.ts";
import { Streams } from "../../src/linux/streams.ts";
import type { Kernel } from "../../src/linux/kernel.ts";
import type { Bundle } from "./bundle.ts";
import type { CommandLine } from "./command_line.ts";
import { ConsoleSocket } from "./console_socket.ts";
import { json } from "./config_json.ts";
import type { Keeper } from "./keeper.ts";
import { type Held, hold, signalHeld } from "./process.ts";

export interface OciProcessParts {
  readonly kernel: Kernel;
  readonly stages: Stages;
  readonly commands: CommandLine;
  readonly bundle: Bundle;
  readonly container: string;
  /** The container's keeper. */
  readonly inside: Keeper;
  readonly publish: (event: NewTaskEvent) => void;
  readonly onDelete: () => void;
}

/** One more process of an OCI runtime's container. */
export class OciProcess implements Process {
  readonly id: string;
  readonly pid: number;
  readonly #parts: OciProcessParts;
  readonly #keeper: Keeper;
  readonly #held: Held;
  readonly #streams: Streams;
  readonly #exit: Promise<ProcessExit>;
  #deleted: Promise<ProcessExit> | undefined;

  static async start(options: ExecOptions, parts: OciProcessParts): Promise<OciProcess> {
    const { kernel, stages, commands, bundle, container, inside, publish } = parts;
    const action = `cannot execute process ${JSON.stringify(options.id)} in container ${JSON.stringify(container)}`;
    const terminal = options.process.terminal === true;
    const streams = new Streams(kernel, options.stdio ?? {}, terminal);
    const processFile = bundle.write("process", json(options.process));
    const pidFile = bundle.file("pid");
    let keeper: Keeper | undefined;
    try {
      using socket = terminal ? new ConsoleSocket(kernel, bundle.file("tty")) : undefined;
      publish({ type: "exec-added", id: container, process: options.id });
      const words = ["exec", "--detach", "--process", processFile, "--pid-file", pidFile];
      if (socket !== undefined) words.push("--console-socket", socket.path);
      const { stdin, stdout, stderr } = streams.ends;
      const kept = commands.keep(action, bundle.folder, [...words, container], {
        stdio: [stdin, stdout, stderr],
        inside,
        prepare: [],
      });
      keeper = kept.keeper;
      if (!terminal) streams.release();
      await kept.done;
      if (socket !== undefined) streams.attach(stages, socket.receive());
      const held = hold(kernel, keeper, pidFile);
      publish({ type: "exec-started", id: container, process: options.id, pid: held.pid });
      return new OciProcess(options.id, parts, keeper, held, streams);
    } catch (error) {
      await keeper?.end();
      await streams.close();
      throw error;
    } finally {
      for (const file of [processFile, pidFile]) rmSync(file, { force: true });
    }
  }

  private constructor(id: string, parts: OciProcessParts, keeper: Keeper, held: Held, streams: Streams) {
    this.id = id;
    this.pid = held.pid;
    this.#parts = parts;
    this.#keeper = keeper;
    this.#held = held;
    this.#streams = streams;
    this.#exit = keeper.exit(held.pid).then(({ code, signal }) => {
      streams.end();
      const exit = { code, signal, exitedAt: new Date() };
      parts.publish({ type: "exit", id: parts.container, process: id, pid: held.pid, exit });
      return exit;
    });
    // Nobody has to wait for a process.
    this.#exit.catch(() => {});
  }

  get stdin(): WritableStream<Uint8Array> | undefined {
    return this.#streams.stdin;
  }

  get stdout(): ReadableStream<Uint8Array<ArrayBuffer>> | undefined {
    return this.#streams.stdout;
  }

  get stderr(): ReadableStream<Uint8Array<ArrayBuffer>> | undefined {
    return this.#streams.stderr;
  }

  wait(): Promise<ProcessExit> {
    return this.#exit;
  }

  async resize(size: TerminalSize): Promise<void> {
    this.#streams.resize(size, `process ${JSON.stringify(this.id)}`);
  }

  async kill(signal = SIGKILL): Promise<void> {
    checkSignal(signal, `process ${JSON.stringify(this.id)}`);
    if (this.#deleted === undefined) signalHeld(this.#parts.kernel, this.#held, signal);
  }

  delete(): Promise<ProcessExit> {
    return this.#deleted ??= this.#delete();
  }

  async #delete(): Promise<ProcessExit> {
    const { kernel, onDelete } = this.#parts;
    try {
      signalHeld(kernel, this.#held, SIGKILL);
      return await this.#exit;
    } finally {
      await this.#keeper.end();
      if (this.#held.pidfd >= 0) kernel.attempt("close", this.#held.pidfd);
      await this.#streams.close();
      onDelete();
    }
  }
}
