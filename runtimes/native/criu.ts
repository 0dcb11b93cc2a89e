import { Failure, messageOf } from "../../src/core/errors.ts";
import type { Children } from "../../src/linux/children.ts";
import { findProgram } from "../../src/linux/find_program.ts";
import { PR_SET_PDEATHSIG, SIGKILL } from "../../src/linux/flags.ts";
import { type HelperProgram, runHelper } from "../../src/linux/helper_program.ts";
import type { Kernel } from "../../src/linux/kernel.ts";
import type { Operation } from "../../src/linux/program.ts";
import { ownIds } from "../../src/linux/own_ids.ts";

/** How long it may take to write or read a container's memory. */
const timeoutMs = 300_000;

const cure = "install criu 4.1 or newer, which Debian 13 has: older ones fail from Linux 6.18 on";

/** What it calls an error and gets over, on kernels that lack something. */
const harmless =
  /rlimit: Can't setup RLIMIT_NOFILE|tun: Unable to create tun|sockets: Can't get \d|(Dumping|Restoring) FAILED/;

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
    if (!ownIds(this.#kernel).all) {
      throw new Failure("unavailable", "an ordinary user cannot have checkpoints: run the daemon as root");
    }
    const program = findProgram(this.#kernel, this.#name);
    if (program === undefined) throw new Failure("unavailable", `there is no program ${this.#name}: ${cure}`);
    const prepare = [...how.prepare ?? [], dieWithDaemon];
    const helper = { args: [program, command, ...args], timeoutMs, ...how, prepare };
    const { code, stdout, stderr } = await runHelper(this.#kernel, this.#children, helper);
    if (code === 0) return;
    const errors = `${stdout}\n${stderr}`.split("\n").filter((line) => /\bError\b/.test(line) && !harmless.test(line));
    const told = errors.slice(-3).map((line) => line.replace(/^.*\bError \([^)]*\): /, "")).join("; ");
    const why = told === "" ? stderr.trim().slice(-500) || `it ended with ${code}` : told;
    if (command === "check") {
      throw new Failure("unavailable", `${program} does not work on this kernel: ${why}: ${cure}`);
    }
    const cured = oldForSockets.test(`${stdout}\n${stderr}`)
      ? ": this kernel's TCP and UDP sockets take criu 4.2 or newer"
      : "";
    throw new Failure("failed_precondition", `criu ${command}: ${why}${cured}`);
  }
}
