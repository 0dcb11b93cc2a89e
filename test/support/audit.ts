import process from "node:process";
import { leftSince, type MachineState, machineState, type ProcessState } from "./machine_state.ts";

/** How long what was left has to go by itself: namespaces and cgroups are taken down behind our back. */
const settleMs = 10_000;

/** In the environment of every process that a test starts. */
const markName = "MAYFLY_TEST_MARK";

/**
 * Tells what test files have left on this machine: processes, mounts, cgroups, network namespaces.
 *
 * In CI nobody else makes containers, and all that is new is the test's. Elsewhere others may be at work: there only what
 * carries the mark of this run, or the test process's id in its name, is.
 */
export class Audit {
  readonly #mark: string;
  readonly #alone = process.env["CI"] === "true";
  #before: MachineState = machineState();

  constructor(mark: string) {
    this.#mark = `${markName}=${mark}`;
  }

  /** What the processes of tests get in their environment. */
  get environment(): Readonly<Record<string, string>> {
    return { [markName]: this.#mark.slice(markName.length + 1) };
  }

  /** Looks at the machine before a file runs. */
  begin(): void {
    this.#before = machineState();
  }

  /** @param pid of the process that ran the file. @returns what was left, a line each. */
  async end(pid: number | undefined): Promise<readonly string[]> {
    const deadline = Date.now() + settleMs;
    while (true) {
      const left = leftSince(this.#before, machineState(), (thing) => this.#isOurs(thing, pid));
      if (left.length === 0 || Date.now() > deadline) return left;
      await new Promise((go) => setTimeout(go, 100));
    }
  }

  #isOurs(thing: { readonly process: ProcessState } | { readonly path: string }, pid: number | undefined): boolean {
    if ("path" in thing) {
      // The machine itself makes cgroups too.
      const ofContainers = !thing.path.startsWith("/sys/fs/cgroup/") || thing.path.includes("mayfly");
      return (this.#alone && ofContainers) || new RegExp(`/mayfly[^/]*-${pid}(?:[-/]|$)`).test(thing.path);
    }
    const { environment, cgroups, network } = thing.process;
    if (environment.includes(this.#mark)) return true;
    const isNew = () => network !== "" && !this.#before.processes.some((known) => known.network === network);
    return this.#alone && (cgroups.includes("/mayfly") || isNew());
  }
}
