/*
 * What one fresh container costs with the full default configuration: create → start → exit → delete in this process, and
 * `crun run` and `runc run` with the same config.json on a root filesystem that is mounted already.
 *
 *     node test/bench/lifecycle.ts [runs]      (or deno run -A, bun)
 */
import { existsSync, mkdtempSync, readdirSync, rmdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { native } from "../../runtimes/native/mod.ts";
import { silent } from "../../src/core/logger.ts";
import type { Runtime } from "../../src/core/runtime.ts";
import { currentHost } from "../../src/host/mod.ts";
import { makeBusyboxRoot } from "../support/busybox_image.ts";
import { BareLifecycle, type Steps } from "./bare.ts";
import { milliseconds as ms, quantile } from "./figures.ts";
import { makeTiny, Peer, peers } from "./peers.ts";

const runs = Number(process.argv[2] ?? 200);
const host = await currentHost();
const folder = mkdtempSync(join(tmpdir(), "mayfly-bench-"));
const root = join(folder, "root");
const cgroupParent = `/mayfly-bench-${process.pid}`;

const rounds = 5;

/** Takes turns, so that whatever else the machine does falls on all alike. */
async function compare(runtime: Runtime, title: string, args: readonly string[]): Promise<void> {
  using cleanup = new DisposableStack();
  const bare = new BareLifecycle(runtime, root, args);
  const references = peers.map((name) => ({
    peer: cleanup.use(new Peer({ name, folder, root, cgroupParent, args })),
    times: [] as number[],
  }));
  const turns = Math.max(2, Math.round(runs / 100));
  const steps: Steps = { create: [], start: [], exit: [], delete: [] };
  const times: number[] = [];
  await bare.sequential(20);
  for (let round = 0; round < rounds; round++) {
    times.push(...await bare.sequential(runs / rounds, steps));
    for (const { peer, times } of references) {
      peer.measureStart(turns);
      times.push(...peer.time("$rt run --bundle $bundle bench-$i", turns));
    }
  }
  const own = quantile(times, 0.5);
  const parts = Object.entries(steps).map(([step, values]) => `${step} ${quantile(values, 0.5).toFixed(2)}`).join(", ");
  console.log(`${`native, ${title}`.padEnd(28)}${ms(own)}${ms(quantile(times, 0.9))}   ${parts}`);
  for (const { peer, times } of references) {
    const median = peer.median(times);
    console.log(
      `${`${peer.name} run, ${title}`.padEnd(28)}${ms(median)}          ${(median / own).toFixed(1)} times native`,
    );
  }
  const perSecond = await bare.perSecond(8, runs);
  console.log(`${"  8 at once".padEnd(28)}${ms(1000 / perSecond)} each          ${Math.round(perSecond)} per second`);
}

try {
  makeBusyboxRoot(root);
  const tiny = makeTiny(join(root, "bin/tiny"));
  const run = join(folder, "run");
  const get = (): never => {
    throw new Error("the native runtime needs no other plugin");
  };
  const runtime: Runtime & Partial<AsyncDisposable> = await native.create({
    host,
    root: folder,
    run,
    log: silent,
    config: { cgroupParent },
    get,
  });
  console.log(`${host.name} ${host.version}, ${runs} runs, full default configuration, milliseconds`);
  console.log(`${"".padEnd(28)}${"p50".padStart(7)}${"p90".padStart(7)}`);
  await compare(runtime, "busybox true", ["/bin/true"]);
  if (tiny) await compare(runtime, "an empty program", ["/bin/tiny"]);
  await runtime[Symbol.asyncDispose]?.();
} finally {
  for (const name of [".", ...readdirSync("/sys/fs/cgroup")]) {
    for (const suffix of ["", "-crun", "-runc"]) {
      const path = `/sys/fs/cgroup/${name}${cgroupParent}${suffix}`;
      if (existsSync(path)) rmdirSync(path);
    }
  }
  rmSync(folder, { recursive: true, force: true });
}
// Waiting for children keeps no process alive, open timers of a host may.
process.exit(0);
