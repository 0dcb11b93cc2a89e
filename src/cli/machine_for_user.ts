/** What this machine can do for a user who is not root, and what is lost. */
import type { OrdinaryUser } from "./command.ts";
import { atLeast, type Check, filesystem, kernel, seccomp, space } from "./machine.ts";

/** @param root the daemon's persistent folder. */
export function checkForUser(root: string, user: OrdinaryUser): readonly Check[] {
  return [who(user), ids(user), kernel(), overlay(), cgroups(user), runtimes, rights, seccomp(), space(root)];
}

function who({ uid, lacks }: OrdinaryUser): Check {
  const name = "user";
  if (lacks === undefined) return { name, state: "ok", says: `uid ${uid}, root in a user namespace of its own` };
  return { name, state: "bad", says: `uid ${uid}, and ${lacks.reason}`, cure: `${lacks.cure}; or run it with sudo` };
}

function ids({ otherIds }: OrdinaryUser): Check {
  const lost = "--userns auto cannot be had";
  return otherIds > 0 ? { name: "ids", state: "ok", says: `containers have ${otherIds} users beside root; ${lost}` } : {
    name: "ids",
    state: "warn",
    says: `containers have no users but root, and every file is root's there; ${lost}`,
    cure: "install newuidmap (Debian: uidmap), and have root give ids: usermod --add-subuids 100000-165535 " +
      "--add-subgids 100000-165535 $USER",
  };
}

/** Users may mount it since Linux 5.11, over a tmpfs in full since 6.6. */
function overlay(): Check {
  const known = filesystem("overlay");
  if (known.state !== "ok") return known;
  const name = "overlay";
  if (!atLeast(5, 11)) {
    return {
      name,
      state: "warn",
      says: "only root may mount it before Linux 5.11: images are copied for each container, which is slow",
      cure: "use a newer kernel",
    };
  }
  return atLeast(6, 6) ? { name, state: "ok", says: "in the kernel, for users too" } : {
    name,
    state: "warn",
    says: "before Linux 6.6, functions cannot make a folder anew that the image has, and that they have removed",
    cure: "use a newer kernel",
  };
}

function cgroups({ controllers }: OrdinaryUser): Check {
  const name = "cgroups";
  const cure =
    "where limits are needed, on a machine with cgroup v2: systemd-run --user -p Delegate=yes mayfly serve; " +
    "or run it with sudo";
  if (controllers === undefined) {
    const says = "none for who is started like this: no limits of memory, processors and processes, no pause, no stats";
    return { name, state: "warn", says, cure };
  }
  const missing = ["memory", "cpu", "pids"].filter((controller) => !controllers.includes(controller));
  return missing.length === 0
    ? { name, state: "ok", says: `v2, delegated: ${controllers.join(" ")}` }
    : { name, state: "warn", says: `v2, delegated without ${missing.join(", ")}: no limits of these`, cure };
}

const runtimes: Check = {
  name: "runtimes",
  state: "warn",
  says: "native alone; no crun, no runc",
  cure: "run it with sudo where another one is needed",
};

const rights: Check = {
  name: "rights",
  state: "warn",
  says: "no checkpoints, rlimits cannot be raised, oom_score_adj not lowered, devices not made",
  cure: "run it with sudo where functions need it",
};
