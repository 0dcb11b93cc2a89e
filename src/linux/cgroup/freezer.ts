import { Failure } from "../../core/errors.ts";
import type { Cgroup } from "./cgroup.ts";
import type { Hierarchy, Layout } from "./layout.ts";

/** How long processes may take to stop; one that waits for a disk or in vfork(2) is stopped behind that. */
const patienceMs = 5000;

/** The hierarchy whose freezer a cgroup is to use: one that it is in, else any. Undefined where there is none. */
export function freezerOf(layout: Layout, cgroup?: Cgroup): Hierarchy | undefined {
  const freezes = ({ version, controllers }: Hierarchy) => version === 2 || controllers.includes("freezer");
  return [...cgroup?.folders.keys() ?? [], ...layout.hierarchies].find(freezes);
}

/**
 * Begins to stop all processes of a cgroup that is in the freezer's hierarchy.
 * @returns the negative errno, or 0.
 */
export function beginFreeze(cgroup: Cgroup, freezer: Hierarchy): number {
  return freezer.version === 2
    ? cgroup.write(freezer, "cgroup.freeze", "1")
    : cgroup.write(freezer, "freezer.state", "FROZEN");
}

/**
 * Resolves when all are stopped.
 * @throws aborted when they are thawed meanwhile; unavailable when they do not stop.
 */
export async function frozen(cgroup: Cgroup, freezer: Hierarchy): Promise<void> {
  const deadline = Date.now() + patienceMs;
  for (let waitMs = 0;; waitMs = Math.min(waitMs + 1, 10)) {
    const state = stateOf(cgroup, freezer);
    if (state === "frozen") return;
    if (state === "thawed") throw new Failure("aborted", `cannot freeze cgroup ${JSON.stringify(cgroup.path)}: thawed`);
    if (Date.now() > deadline) {
      throw new Failure("unavailable", `cannot freeze cgroup ${JSON.stringify(cgroup.path)}: processes do not stop`, {
        details: { pids: [...cgroup.pids()] },
      });
    }
    // Version 1 tells nobody: reading is what brings its state forward.
    await new Promise((resolve) => setTimeout(resolve, waitMs));
  }
}

/** Lets the processes of a cgroup go on. No error where it is gone. */
export function thaw(cgroup: Cgroup, freezer: Hierarchy): void {
  if (freezer.version === 2) cgroup.write(freezer, "cgroup.freeze", "0");
  else cgroup.write(freezer, "freezer.state", "THAWED");
}

function stateOf(cgroup: Cgroup, freezer: Hierarchy): "frozen" | "freezing" | "thawed" {
  if (freezer.version === 1) {
    const state = cgroup.read(freezer, "freezer.state").trim();
    return state === "FROZEN" ? "frozen" : state === "THAWED" ? "thawed" : "freezing";
  }
  if (/^frozen 1$/m.test(cgroup.read(freezer, "cgroup.events"))) return "frozen";
  return cgroup.read(freezer, "cgroup.freeze").trim() === "1" ? "freezing" : "thawed";
}
