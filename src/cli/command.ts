import type { Host } from "../core/host.ts";
import type { Config } from "../config.ts";
import type { Upgrade } from "../core/web_socket.ts";
import type { Connection } from "./connection.ts";
import type { Output } from "./output.ts";

/** One command of the command line. */
export interface Command {
  readonly name: string;
  /** One line for the list of commands. */
  readonly summary: string;
  /** What follows `mayfly`, for example `pull [options] <reference>`. */
  readonly usage: string;
  /** Lines of an example or two, for `--help`. */
  readonly examples?: readonly string[];
  /** What else there is to know, for `--help`: a line of text each. */
  readonly notes?: readonly string[];
  readonly flags?: Readonly<Record<string, Flag>>;
  /** How many words it takes; default none. Words behind the last one are refused. */
  readonly words?: { readonly min: number; readonly max: number };
  /**
   * Where true, flags end at the first word, so that `mayfly run image ls -l` gives `-l` to the container.
   */
  readonly passesRest?: boolean;
  /** @returns the exit status. */
  run(context: CommandContext): Promise<number>;
}

export interface Flag {
  readonly type: "string" | "boolean";
  readonly short?: string;
  readonly multiple?: boolean;
  /** The value's name in `--help`. */
  readonly value?: string;
  readonly help: string;
}

export type FlagValues = Readonly<Record<string, string | boolean | readonly string[] | undefined>>;

export interface CommandContext {
  readonly host: Host;
  readonly config: Config;
  readonly words: readonly string[];
  readonly flags: FlagValues;
  readonly output: Output;
  /** Reaches the running daemon, or opens one in this process. */
  connect(): Promise<Connection>;
  /** Who runs this, where that is not root. */
  ordinaryUser(): Promise<OrdinaryUser | undefined>;
  /** Starts a daemon that listens; for `serve`. */
  readonly openDaemon: OpenDaemon;
}

/** A user who is not root, and what such a one can have on this machine. */
export interface OrdinaryUser {
  readonly uid: number;
  /** Why there can be no containers, with the cure; undefined where there can. */
  readonly lacks: { readonly reason: string; readonly cure: string } | undefined;
  /** How many ids it may give to others in its containers. */
  readonly otherIds: number;
  /** The controllers of its cgroup; undefined where it has none of its own. */
  readonly controllers: readonly string[] | undefined;
}

/** What the command line needs of a daemon; `src/daemon.ts` has it. */
export type OpenDaemon = (host: Host, config: Config) => Promise<DaemonHandle>;

export interface DaemonHandle extends AsyncDisposable {
  /**
   * Answers a request with the rights of the admin socket.
   * @param upgrade makes a WebSocket of it, within this process.
   */
  fetch(request: Request, upgrade?: Upgrade): Promise<Response>;
  /** Opens the Unix socket and the TCP listener; returns what they are reached by. */
  listen(): Promise<readonly string[]>;
  /** Ends what runs: takes nothing new, waits for running invocations up to `drainMs`, then closes. */
  drain(): Promise<void>;
}

/** A flag's text. */
export function text(flags: FlagValues, name: string): string | undefined {
  const value = flags[name];
  return typeof value === "string" ? value : undefined;
}

/** A flag that may be given more than once. */
export function texts(flags: FlagValues, name: string): readonly string[] {
  const value = flags[name];
  return typeof value === "object" ? value : [];
}
