import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  chownSync,
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import type { Finished } from "./mayfly_process.ts";
import { sameHost } from "./same_host.ts";

const project = fileURLToPath(new URL("../..", import.meta.url));

export interface OrdinaryUserOptions {
  /** No other user's, nor another test's. */
  readonly uid: number;
  /** Which ids `/etc/subuid` and `/etc/subgid` give it. Default: none. */
  readonly subordinate?: { readonly first: number; readonly size: number };
}

interface StartOptions {
  readonly stdin?: "pipe" | "ignore";
  readonly cgroup?: string | undefined;
  readonly through?: readonly string[];
}

/**
 * A user of this machine who is not root, with a home of its own, for the time of a test. Its account stands in files that
 * its processes alone see. They find the project at another place too: where it lies may be closed to others than root.
 */
export class OrdinaryUser implements Disposable {
  readonly uid: number;
  /** Where it may write. */
  readonly folder: string;
  readonly #launcher: readonly string[];

  constructor({ uid, subordinate }: OrdinaryUserOptions) {
    this.uid = uid;
    this.folder = mkdtempSync(join(tmpdir(), "mayfly-user-"));
    const path = (name: string) => join(this.folder, name);
    for (const name of ["home", "run", "project"]) mkdirSync(path(name), { mode: 0o700 });
    const [name, id] = ["mayfly-test", `${uid}:${uid}`];
    const range = subordinate && `${name}:${subordinate.first}:${subordinate.size}\n`;
    const files = {
      passwd: `${readFileSync("/etc/passwd", "utf8")}${name}:x:${id}::${path("home")}:/bin/sh\n`,
      group: `${readFileSync("/etc/group", "utf8")}${name}:x:${uid}:\n`,
      subuid: range ?? "",
      subgid: range ?? "",
    };
    for (const [file, text] of Object.entries(files)) writeFileSync(path(file), text);
    this.own(this.folder);
    const script = [
      'mount --bind "$1" "$2/project"',
      ...Object.keys(files).filter((file) => existsSync(`/etc/${file}`)).map((file) =>
        `mount --bind "$2/${file}" /etc/${file}`
      ),
      'shift 2; exec "$@"',
    ].join(" && ");
    this.#launcher = [
      ...["unshare", "-m", "sh", "-c", script, "sh", project, this.folder],
      ...["setpriv", "--reuid", String(uid), "--regid", String(uid), "--clear-groups"],
    ];
  }

  /** Gives it a folder with all that is in it. */
  own(folder: string): void {
    for (const path of [folder, ...globSync("**", { cwd: folder }).map((name) => join(folder, name))]) {
      chownSync(path, this.uid, this.uid);
    }
    chmodSync(folder, 0o755);
  }

  /** A path of the project, where this user finds it. */
  path(name: string): string {
    return join(this.folder, "project", name);
  }

  /**
   * Starts a command of the command line, as its user would who knows nothing of options.
   * @param options.cgroup the folder of the cgroup that it begins in. @param options.through words before the command.
   */
  async start(args: readonly string[], { through = [], ...how }: StartOptions = {}): Promise<ChildProcess> {
    const words = await sameHost(join(project, "src/main.ts"));
    const own = words.map((word) => word.replace(project, this.path("/")));
    return this.#spawn([...through, ...own, ...args], how);
  }

  #spawn(words: readonly string[], { stdin = "ignore", cgroup }: Omit<StartOptions, "through">): ChildProcess {
    const enter = ["sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', cgroup ?? ""];
    const [program = "", ...rest] = [...cgroup === undefined ? [] : enter, ...this.#launcher, ...words];
    return spawn(program, rest, {
      cwd: "/",
      stdio: [stdin, "pipe", "pipe"],
      env: {
        // By which the suite's audit knows whose process it is.
        MAYFLY_TEST_MARK: process.env["MAYFLY_TEST_MARK"],
        MAYFLY_HOST: process.env["MAYFLY_HOST"],
        PATH: process.env.PATH,
        HOME: join(this.folder, "home"),
        XDG_RUNTIME_DIR: join(this.folder, "run"),
        MAYFLY_LISTEN: "127.0.0.1:0",
      },
    });
  }

  async run(args: readonly string[], input = "", through: readonly string[] = []): Promise<Finished> {
    return await finished(await this.start(args, { stdin: "pipe", through }), input);
  }

  /** Runs any program to its end. */
  async program(...words: readonly string[]): Promise<Finished> {
    return await finished(this.#spawn(words, { stdin: "pipe" }));
  }

  /** The processes that it has, by their ids. */
  processes(): readonly number[] {
    return globSync("/proc/[0-9]*").flatMap((path) => {
      try {
        const status = readFileSync(`${path}/status`, "utf8");
        const ended = /^State:\s+[ZX]/m.test(status);
        return !ended && new RegExp(`^Uid:\\s+${this.uid}\\s`, "m").test(status) ? [Number(path.slice(6))] : [];
      } catch {
        return [];
      }
    });
  }

  [Symbol.dispose](): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

async function finished(child: ChildProcess, input = ""): Promise<Finished> {
  const [stdout, stderr] = [text(child.stdout), text(child.stderr)];
  child.stdin?.end(input);
  const [code] = await once(child, "close");
  return { code, stdout: await stdout, stderr: await stderr };
}

async function text(stream: NodeJS.ReadableStream | null): Promise<string> {
  let all = "";
  for await (const chunk of stream ?? []) all += String(chunk);
  return all;
}

/** A user's daemon. */
export class UserDaemon {
  readonly child: ChildProcess;
  readonly url: string;
  readonly log: () => string;

  private constructor(child: ChildProcess, url: string, log: () => string) {
    this.child = child;
    this.url = url;
    this.log = log;
  }

  /** @param options as `OrdinaryUser.start`'s. */
  static async start(user: OrdinaryUser, options: { readonly cgroup?: string } = {}): Promise<UserDaemon> {
    const child = await user.start(["serve"], options);
    let log = "";
    const listening = Promise.withResolvers<string>();
    for (const stream of [child.stdout, child.stderr]) {
      stream?.on("data", (chunk) => {
        log += String(chunk);
        const url = /listens on (http:\/\/\S+)/.exec(log)?.[1];
        if (url !== undefined) listening.resolve(url);
      });
    }
    child.on("exit", (code) => listening.reject(new Error(`the daemon ended with ${code}: ${log}`)));
    return new UserDaemon(child, await listening.promise, () => log);
  }

  async end(signal: NodeJS.Signals): Promise<number | null> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return this.child.exitCode;
    const ended = once(this.child, "exit");
    if (this.child.pid !== undefined) process.kill(this.child.pid, signal);
    const [code] = await ended;
    return code;
  }
}
