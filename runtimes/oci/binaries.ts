import type { Ability } from "../../src/core/task.ts";

/** A runtime's program, and what is particular about it. */
export interface Binary {
  /** The plugin's id. */
  readonly id: string;
  /** The program's name, or its absolute path. */
  readonly program: string;
  /** How to get it, as the probe says where it is missing. */
  readonly cure: string;
  /** What its command line has no command for, or none that works. */
  readonly lacks?: readonly Ability[];
}

/** The runtimes that are known. Others are added with `ociRuntime`. */
export const binaries = {
  crun: {
    id: "crun",
    program: "crun",
    cure: "apt-get install crun",
    // Debian 12's has no such command. 1.28 restores nothing but below its own state folder, and not on cgroup v1.
    lacks: ["checkpoint"],
  },
  runc: { id: "runc", program: "runc", cure: "apt-get install runc" },
  youki: {
    id: "youki",
    program: "youki",
    cure: "take a release from https://github.com/youki-dev/youki/releases into /usr/local/bin",
    lacks: ["checkpoint"],
  },
  runsc: { id: "runsc", program: "runsc", cure: "apt-get install runsc", lacks: ["update", "checkpoint"] },
} as const satisfies Record<string, Binary>;
