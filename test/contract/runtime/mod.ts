import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { after, before, describe, it } from "node:test";
import type { Runtime } from "../../../src/core/runtime.ts";
import type { Ability } from "../../../src/core/task.ts";
import { makeBusyboxRoot } from "../../support/busybox_image.ts";
import { checkpointing } from "./checkpointing.ts";
import { commands } from "./commands.ts";
import { events } from "./events.ts";
import { executing } from "./executing.ts";
import { filesystem } from "./filesystem.ts";
import { Fixture, type World } from "./fixture.ts";
import { hooks } from "./hooks.ts";
import { lifecycle } from "./lifecycle.ts";
import { limits } from "./limits.ts";
import { measuring } from "./measuring.ts";
import { namespaces } from "./namespaces.ts";
import { pausing } from "./pausing.ts";
import { processes } from "./process.ts";
import { refusals } from "./refusals.ts";
import { streams } from "./streams.ts";
import { terminal } from "./terminal.ts";
import { updating } from "./updating.ts";

export interface RuntimeUnderTest {
  readonly runtime: Runtime;
  /** What launches have left on this machine (cgroups, mounts, files), one line each. */
  leftovers(): readonly string[];
  close?(): Promise<void> | void;
}

export interface RuntimeTestOptions {
  /** Where its differences are looked up. Default: the name. */
  readonly kind?: string;
  /** Why the machine cannot limit or count resources here. */
  readonly noLimits?: string;
  /** Why the machine has no CRIU that works here. */
  readonly noCheckpoints?: string | undefined;
  /** What it can do. What needs another ability is left out. Default: everything. */
  readonly abilities?: ReadonlySet<Ability>;
}

const subjects: Readonly<Record<string, (fixture: Fixture) => void>> = {
  lifecycle,
  streams,
  process: processes,
  namespaces,
  filesystem,
  limits,
  commands,
  refusals,
  events,
  measuring,
  pausing,
  executing,
  terminal,
  updating,
  hooks,
  checkpointing,
};

/**
 * What every container runtime has to do: run it on an implementation with a folder for it to work in. The reference
 * implementations prove the suite itself; where one differs, `differences.ts` says in what and why.
 * @param open makes the runtime; it is called once.
 */
export function testRuntime(
  name: string,
  open: (folder: string) => Promise<RuntimeUnderTest>,
  { kind = name, noLimits, noCheckpoints, abilities }: RuntimeTestOptions = {},
): void {
  describe(`Runtime ${name}`, { skip: process.geteuid?.() === 0 ? false : "it takes root" }, () => {
    const folder = mkdtempSync(join(tmpdir(), "mayfly-runtime-"));
    const world: Omit<World, "runtime"> & { runtime?: Runtime } = {
      kind,
      noLimits,
      noCheckpoints,
      abilities,
      folder,
      root: join(folder, "root"),
    };
    let test: RuntimeUnderTest;

    before(async () => {
      makeBusyboxRoot(world.root);
      test = await open(folder);
      world.runtime = test.runtime;
    });

    after(async () => {
      await test?.close?.();
      rmSync(folder, { recursive: true, force: true });
    });

    for (const [subject, cases] of Object.entries(subjects)) {
      describe(subject, () => cases(new Fixture(world as World, subject)));
    }

    it("leaves nothing behind", () => {
      assert.deepEqual(test.runtime.tasks(), []);
      assert.deepEqual(test.leftovers(), []);
      const mine = readFileSync("/proc/self/mounts", "utf8").split("\n").filter((line) => line.includes(folder));
      assert.deepEqual(mine, []);
      assert.deepEqual(zombies(), []);
    });
  });
}

/** Children of this process that have ended and were not reaped. */
function zombies(): string[] {
  return readdirSync("/proc").filter((name) => /^\d+$/.test(name)).filter((pid) => {
    try {
      const stat = readFileSync(`/proc/${pid}/stat`, "utf8").replace(/^.*\) /, "").split(" ");
      return stat[0] === "Z" && stat[1] === String(process.pid);
    } catch {
      return false;
    }
  });
}
