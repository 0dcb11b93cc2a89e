import { readFileSync, rmSync } from "node:fs";
import type { Children } from "../../src/linux/children.ts";
import { CLONE_NEWNS, MNT_DETACH } from "../../src/linux/flags.ts";
import { runHelper } from "../../src/linux/helper_program.ts";
import type { Kernel } from "../../src/linux/kernel.ts";
import { isolateMounts } from "../../src/linux/mount/rootfs.ts";
import type { Operation } from "../../src/linux/program.ts";
import { commandFailure } from "./failure.ts";
import type { Keeper, Keepers, KeptCommand } from "./keeper.ts";

export interface CommandLineParts {
  readonly kernel: Kernel;
  readonly children: Children;
  readonly keepers: Keepers;
  /** The program's absolute path. */
  readonly program: string;
  /** The runtime's own folder for the state of its containers. */
  readonly root: string;
  /** Mount points of cgroup v2 beside v1: it is told of v1 alone. */
  readonly hidden: readonly string[];
}

/** A command that was started below a keeper. */
export interface Kept {
  readonly keeper: Keeper;
  /** Resolves when the command has done its work. @throws what it says went wrong. */
  readonly done: Promise<void>;
}

/** The command line of one OCI runtime. */
export class CommandLine {
  readonly #parts: CommandLineParts;
  readonly #prepare: readonly Operation[];
  #logs = 0;

  constructor(parts: CommandLineParts) {
    this.#parts = parts;
    this.#prepare = [
      ...isolateMounts(),
      // Debian's crun 1.8 refuses a machine that has both; nothing that a container gets is in version 2 there.
      ...parts.hidden.map((path): Operation => ({
        syscall: "umount2",
        args: [path, MNT_DETACH],
        why: `hide ${JSON.stringify(path)}`,
      })),
    ];
  }

  /**
   * Runs a command to its end.
   * @param action what it does, as a failure's message begins: `cannot pause container "x"`.
   * @param folder where it may write its log.
   * @param options.inside the keeper whose mount namespace it works in.
   * @returns what it says. @throws what it says went wrong.
   */
  async run(
    action: string,
    folder: string,
    words: readonly string[],
    options: {
      readonly inside?: Keeper | undefined;
      readonly input?: Uint8Array;
      readonly env?: readonly string[];
      readonly timeoutMs?: number;
    } = {},
  ): Promise<string> {
    const { kernel, children } = this.#parts;
    const log = this.#log(folder);
    const { inside, ...rest } = options;
    const place = inside === undefined
      ? { flags: CLONE_NEWNS, prepare: this.#prepare }
      : { prepare: [...inside.join()] };
    try {
      const { code, stdout, stderr } = await runHelper(kernel, children, {
        args: this.#args(log, words),
        ...place,
        ...rest,
      });
      if (code !== 0) throw commandFailure(action, read(log) || stderr);
      return stdout;
    } finally {
      rmSync(log, { force: true });
    }
  }

  /** Starts a command that leaves a process behind. @param action as of `run`. */
  keep(
    action: string,
    folder: string,
    words: readonly string[],
    { stdio, inside, env, prepare }: Omit<KeptCommand, "args">,
  ): Kept {
    const log = this.#log(folder);
    const args = this.#args(log, words);
    const isolate = inside === undefined ? this.#prepare : [];
    const keeper = this.#parts.keepers.start({ args, stdio, inside, env, prepare: [...isolate, ...prepare] });
    const done = keeper.command.then(({ code }) => {
      if (code !== 0) throw commandFailure(action, read(log) || `exit status ${code}`);
    }).finally(() => rmSync(log, { force: true }));
    return { keeper, done };
  }

  #args(log: string, words: readonly string[]): string[] {
    const { program, root } = this.#parts;
    return [program, "--root", root, "--log", log, "--log-format", "json", ...words];
  }

  #log(folder: string): string {
    return `${folder}/log${this.#logs++}`;
  }
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
