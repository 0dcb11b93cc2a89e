import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { basename, join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { currentHost } from "../../src/host/mod.ts";
import { sameHost } from "./same_host.ts";

const main = fileURLToPath(new URL("../../src/main.ts", import.meta.url));

export interface Finished {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** The words that start the command line on this host. */
export async function commandLine(): Promise<readonly string[]> {
  return await sameHost(main);
}

/** Runs a command of the command line to its end. */
export async function mayfly(
  args: readonly string[],
  options: { readonly input?: string; readonly env?: Readonly<Record<string, string>> } = {},
): Promise<Finished> {
  const [program, ...first] = await sameHost(main);
  const child = spawn(program, [...first, ...args], { env: { ...process.env, ...options.env } });
  child.stdin.end(options.input ?? "");
  const [stdout, stderr] = [text(child.stdout), text(child.stderr)];
  const [code] = await once(child, "close");
  return { code, stdout: await stdout, stderr: await stderr };
}

/** Runs commands on the state in one folder, as a person would who has nothing on stdin. */
export interface Commands {
  run(command: string, ...args: readonly string[]): Promise<Finished>;
  /** @returns stdout. @throws when the command fails. */
  out(command: string, ...args: readonly string[]): Promise<string>;
}

/** @param flags what every command gets besides. */
export function commandsOn(folder: string, flags: readonly string[] = []): Commands {
  const run: Commands["run"] = (command, ...args) => mayfly([command, ...stateFlags(folder), ...flags, ...args]);
  const out: Commands["out"] = async (command, ...args) => {
    const { code, stdout, stderr } = await run(command, ...args);
    assert.equal(code, 0, stderr);
    return stdout;
  };
  return { run, out };
}

async function text(stream: NodeJS.ReadableStream): Promise<string> {
  let all = "";
  for await (const chunk of stream) all += String(chunk);
  return all;
}

/** A daemon in a process of its own, with all its state in one folder. */
export class MayflyProcess implements AsyncDisposable {
  readonly folder: string;
  readonly url: string;
  readonly child: ChildProcess;
  readonly log: () => string;

  private constructor(folder: string, url: string, child: ChildProcess, log: () => string) {
    this.folder = folder;
    this.url = url;
    this.child = child;
    this.log = log;
  }

  /**
   * Starts it and resolves when it listens.
   * @param folder has `root` and `run` in it.
   * @param words what starts the command line. Default: the source, on this host.
   */
  static async start(
    folder: string,
    flags: readonly string[] = [],
    env: Readonly<Record<string, string>> = {},
    words?: readonly [program: string, ...args: string[]],
  ): Promise<MayflyProcess> {
    const [program, ...first] = words ?? await sameHost(main);
    const args = [...first, "serve", ...stateFlags(folder), "--listen", "127.0.0.1:0", ...flags];
    const child = spawn(program, args, { env: { ...process.env, ...env }, stdio: ["ignore", "inherit", "pipe"] });
    let log = "";
    const listening = Promise.withResolvers<string>();
    child.stderr?.on("data", (chunk) => {
      log += chunk;
      const url = /listens on (https?:\/\/\S+)/.exec(log)?.[1];
      if (url !== undefined) listening.resolve(url);
    });
    child.on("exit", (code) => listening.reject(new Error(`the daemon ended with ${code}: ${log}`)));
    return new MayflyProcess(folder, await listening.promise, child, () => log);
  }

  /** Calls the admin API over the Unix socket. */
  async admin(
    method: string,
    path: string,
    body?: unknown,
    options: { readonly signal?: AbortSignal } = {},
  ): Promise<Response> {
    const host = await currentHost();
    return await host.fetchUnix(
      join(this.folder, "run/mayfly.sock"),
      new Request(`http://mayfly${path}`, {
        method,
        ...options,
        ...(body === undefined ? {} : { headers: { "content-type": "application/json" }, body: JSON.stringify(body) }),
      }),
    );
  }

  /** Kills it where a test has not ended it. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.end("SIGKILL");
  }

  /** Sends a signal and resolves with the exit code when the process has ended. */
  async end(signal: NodeJS.Signals): Promise<number | null> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return this.child.exitCode;
    const ended = once(this.child, "exit");
    // Not child.kill(): Deno then reports the signal as the process's end, whatever its exit code was.
    if (this.child.pid !== undefined) process.kill(this.child.pid, signal);
    const [code] = await ended;
    return code;
  }
}

/** The flags that keep all state of a command in one folder. */
export function stateFlags(folder: string): readonly string[] {
  const plugins = { "runtime/native": { cgroupParent: cgroupParent(folder) } };
  return ["--root", join(folder, "root"), "--run", join(folder, "run"), "--plugins", JSON.stringify(plugins)];
}

/** The cgroup below which those commands put their containers. */
export function cgroupParent(folder: string): string {
  return `/mayfly-test-${basename(folder)}`;
}
