import { Failure, messageOf } from "../core/errors.ts";
import type { Children } from "./children.ts";
import { findProgram } from "./find_program.ts";
import { PR_SET_PDEATHSIG, SIGKILL } from "./flags.ts";
import { type HelperProgram, runHelper } from "./helper_program.ts";
import type { Kernel } from "./kernel.ts";
import type { Operation } from "./program.ts";
import { ownIds } from "./own_ids.ts";

/** How long it may take to write or read a container's memory. */
const timeoutMs = 300_000;

const cure = "install criu 4.1 or newer, which Debian 13 has: older ones fail from Linux 6.18 on";

/** What it calls an error and gets over, on kernels that lack something. */
const harmless =
  /rlimit: Can't setup RLIMIT_NOFILE|tun: Unable to create tun|sockets: Can't get \d|(Dumping|Restoring) FAILED/;

/**
 * What it says went wrong, as a sentence; undefined where it says nothing of it. @param text its log, or its stderr.
 */
export function complaintOf(text: string): string | undefined {
  const errors = text.split("\n").filter((line) => /\bError\b/.test(line) && !harmless.test(line));
  const said = errors.slice(-3).map((line) => line.replace(/^.*\bError \([^)]*\): /, ""));
  if (oldForSockets.test(text)) said.push("this kernel's TCP and UDP sockets take criu 4.2 or newer");
  return said.length === 0 ? undefined : said.join("; ");
}

/** `SO_PASSCRED` and `SO_PASSSEC`, which Linux refuses for other sockets than Unix ones from 6.16 on. */
const oldForSockets = /sockets: Can't get 1:(16|34) /;

const dieWithDaemon: Operation = {
  syscall: "prctl",
  args: [PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0],
  why: "die when the daemon dies",
};

/** CRIU's command line, which writes processes to disk and brings them back. @see https://criu.org/CLI */
export class Criu {
  readonly #kernel: Kernel;
  readonly #children: Children;
  readonly #name: string;

  /** @param name the program: an absolute path, or the name of one in the machine's folders. */
  constructor(kernel: Kernel, children: Children, name = "criu") {
    this.#kernel = kernel;
    this.#children = children;
    this.#name = name;
  }

  /** Its absolute path. @throws unavailable where there is none, or none for this user. */
  get program(): string {
    if (!ownIds(this.#kernel).all) {
      throw new Failure("unavailable", "an ordinary user cannot have checkpoints: run the daemon as root");
    }
    const program = findProgram(this.#kernel, this.#name);
    if (program === undefined) throw new Failure("unavailable", `there is no program ${this.#name}: ${cure}`);
    return program;
  }

  /** Why it cannot be used here; undefined where it can. */
  async missing(): Promise<string | undefined> {
    try {
      await this.run("check", []);
      return undefined;
    } catch (error) {
      return messageOf(error);
    }
  }

  /**
   * Runs one of its commands to the end.
   * @throws unavailable where there is none; failed_precondition with what it says.
   */
  async run(
    command: "check" | "dump" | "restore",
    args: readonly string[],
    how: Pick<HelperProgram, "descriptors" | "prepare" | "flags"> = {},
  ): Promise<void> {
    const { program } = this;
    const prepare = [...how.prepare ?? [], dieWithDaemon];
    const helper = { args: [program, command, ...args], timeoutMs, ...how, prepare };
    const { code, stdout, stderr } = await runHelper(this.#kernel, this.#children, helper);
    if (code === 0) return;
    const said = complaintOf(`${stdout}\n${stderr}`);
    if (command === "check") {
      const why = said ?? stderr.trim().slice(-500);
      throw new Failure("unavailable", `${program} does not work on this kernel: ${why}: ${cure}`);
    }
    const why = said ?? (stderr.trim().slice(-500) || `it ended with ${code}`);
    throw new Failure("failed_precondition", `criu ${command}: ${why}`);
  }
}
