import { readFileSync, writeSync } from "node:fs";
import type { DetachedRuntime } from "../core/detached.ts";
import type { Features } from "../core/features.ts";
import type { Host } from "../core/host.ts";
import type { Flags, Given } from "./arguments.ts";
import type { CommandLog } from "./log.ts";
import type { StateStore } from "./state_store.ts";
import { Machine } from "./machine.ts";

/** One command of `mayfly oci`. */
export interface OciCommand {
  readonly name: string;
  readonly summary: string;
  /** What follows `mayfly oci`. */
  readonly usage: string;
  readonly flags: Flags;
  readonly words: { readonly min: number; readonly max: number };
  /** How many words may stand before everything else is the container's. */
  readonly lastWord?: number;
  /** Whether only root can do it, be it of a user namespace. */
  readonly asRoot?: boolean;
  /** @returns the exit status. */
  run(context: OciContext): Promise<number>;
}

/** What the OCI command line is made of. What costs time to load is loaded when a command asks for it. */
export interface OciParts {
  /** Where the states of containers are, where nobody says it. */
  readonly root: string;
  host(): Promise<Host>;
  /**
   * Starts the command again as root of a user namespace, where the user is not root.
   * @param beside a process whose namespace that is to be. Default: a new one.
   */
  becomeRoot(beside: number | undefined): Promise<void>;
  /** Makes the runtime. */
  runtime(machine: Machine): Promise<DetachedRuntime>;
  /** What it can do on such a processor. */
  features(arch: Host["arch"]): Promise<Features>;
}

/** What a command works with. */
export class OciContext implements Given {
  readonly values: Given["values"];
  readonly words: Given["words"];
  readonly store: StateStore;
  readonly log: CommandLog;
  /** Whether cgroup paths have systemd's form, `slice:prefix:name`. */
  readonly systemdCgroup: boolean;
  readonly parts: OciParts;
  #machine: Promise<Machine> | undefined;
  #runtime: Promise<DetachedRuntime> | undefined;

  constructor(
    given: Given,
    parts: OciParts,
    options: { readonly store: StateStore; readonly log: CommandLog; readonly systemdCgroup: boolean },
  ) {
    this.values = given.values;
    this.words = given.words;
    this.parts = parts;
    this.store = options.store;
    this.log = options.log;
    this.systemdCgroup = options.systemdCgroup;
  }

  /** The kernel and its cgroups. */
  machine(): Promise<Machine> {
    return this.#machine ??= this.parts.host().then((host) => new Machine(host));
  }

  runtime(): Promise<DetachedRuntime> {
    return this.#runtime ??= this.machine().then((machine) => this.parts.runtime(machine));
  }
}

/**
 * Writes to the standard output, without the host's stream: that would make a pipe that the container gets a copy of one
 * that does not wait.
 */
export function say(words: string): void {
  const bytes = new TextEncoder().encode(`${words}\n`);
  for (let at = 0; at < bytes.length; at += writeSync(1, bytes, at));
}

/** Reads a file, or the standard input for `-`. */
export function readInput(path: string): string {
  return readFileSync(path === "-" ? 0 : path, "utf8");
}
