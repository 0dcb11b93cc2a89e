import type { SpecProcess } from "../../src/core/spec.ts";
import type { ForkServer } from "../../src/linux/fork_server.ts";
import type { Spawned } from "../../src/linux/kernel.ts";
import type { Program } from "../../src/linux/program.ts";
import type { Values } from "../../src/linux/stage.ts";
import type { Descriptors } from "../../src/linux/stages.ts";
import { execFailure } from "./failure.ts";

export interface ExecLaunchOptions {
  readonly id: string;
  readonly process: SpecProcess;
  readonly plan: Program;
  readonly values: Values;
  /** What the plan puts in place: its standard streams, and behind them what it preserves. */
  readonly descriptors: Descriptors;
  /** The pidfd of the container's init. */
  readonly init: number;
  /** Takes the terminal's master, where the process has one. */
  readonly onTerminal: (master: number) => void;
}

/** Makes one more process of a container. @returns it, for the caller to wait for. @throws the failing step's error. */
export async function launchExec(forks: ForkServer, options: ExecLaunchOptions): Promise<Spawned> {
  const { id, process: spec, plan, values, descriptors, init, onTerminal } = options;
  try {
    const passed = [...descriptors.values()].filter((fd) => fd !== null);
    const stage = forks.fork(init, passed);
    await using undo = new AsyncDisposableStack();
    undo.defer(() => stage.abandon());
    if (spec.terminal !== true) await stage.execute(plan, values);
    else {
      await stage.executeAnnounced(plan, values, (master) => {
        if (master !== undefined) onTerminal(master);
      });
    }
    return stage.release();
  } catch (error) {
    throw execFailure(id, spec, plan, error);
  }
}
