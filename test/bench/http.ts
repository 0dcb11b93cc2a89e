/*
 * What HTTP adds to the bare lifecycle, in latency and in throughput, and what a request costs the event loop.
 *
 *     node test/bench/http.ts [requests]      (or deno run -A, bun)
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { native } from "../../runtimes/native/mod.ts";
import { silent } from "../../src/core/logger.ts";
import type { Runtime } from "../../src/core/runtime.ts";
import { currentHost } from "../../src/host/mod.ts";
import { BareLifecycle } from "./bare.ts";
import { BenchDaemon, cgroupParent } from "./daemon.ts";
import { milliseconds as ms, quantile } from "./figures.ts";
import { load } from "./load.ts";

const requests = Number(process.argv[2] ?? 400);
const rounds = 5;
const host = await currentHost();
const folder = mkdtempSync(join(tmpdir(), "mayfly-bench-"));

/** How long the event loop was away at a time, as a timer that wants to fire every millisecond sees it. */
async function away(work: Promise<unknown>): Promise<number[]> {
  const gaps: number[] = [];
  let running = true;
  work.finally(() => running = false);
  while (running) {
    const before = performance.now();
    await new Promise((resolve) => setTimeout(resolve, 1));
    gaps.push(performance.now() - before - 1);
  }
  return gaps;
}

try {
  await using daemon = await BenchDaemon.open(host, folder);
  await daemon.admin("PUT", "/v1/functions/true", { image: "bench:1", command: ["/bin/true"] });

  const get = (): never => {
    throw new Error("the native runtime needs no other plugin");
  };
  const config = { cgroupParent: `${cgroupParent}-bare` };
  const runtime: Runtime & Partial<AsyncDisposable> = await native.create({
    host,
    root: folder,
    run: join(folder, "bare"),
    config,
    log: silent,
    get,
  });
  const bare = new BareLifecycle(runtime, join(folder, "rootfs"), ["/bin/true"]);

  const target = `${daemon.url}/fn/true`;
  await bare.sequential(30);
  await load(target, 4, 100);

  const [bareTimes, httpTimes, gaps, ratios, bareRates, httpRates]: number[][] = [[], [], [], [], [], []];
  for (let round = 0; round < rounds; round++) {
    bareTimes?.push(...await bare.sequential(requests / rounds));
    const sending = load(target, 1, requests / rounds);
    gaps?.push(...await away(sending));
    httpTimes?.push(...(await sending).latencies);
    const bareRate = await bare.perSecond(8, requests / rounds);
    const { seconds } = await load(target, 8, requests / rounds);
    const httpRate = requests / rounds / seconds;
    bareRates?.push(bareRate);
    httpRates?.push(httpRate);
    ratios?.push(httpRate / bareRate);
  }
  await runtime[Symbol.asyncDispose]?.();
  const p50 = (values: readonly number[] | undefined) => quantile(values ?? [], 0.5);
  console.log(`${host.name} ${host.version}, ${requests} requests of a static true, milliseconds`);
  console.log(`${"".padEnd(28)}${"p50".padStart(7)}${"p99".padStart(7)}`);
  console.log(`${"bare lifecycle".padEnd(28)}${ms(p50(bareTimes))}${ms(quantile(bareTimes ?? [], 0.99))}`);
  console.log(
    `${"POST /fn/true".padEnd(28)}${ms(p50(httpTimes))}${ms(quantile(httpTimes ?? [], 0.99))}   ${
      (p50(httpTimes) - p50(bareTimes)).toFixed(2)
    } more than bare`,
  );
  console.log(`${"event loop away".padEnd(28)}${ms(p50(gaps))}${ms(quantile(gaps ?? [], 0.99))}`);
  console.log(`${"8 at once, bare".padEnd(28)}${p50(bareRates).toFixed(0).padStart(7)} per second`);
  console.log(
    `${"8 at once, over HTTP".padEnd(28)}${p50(httpRates).toFixed(0).padStart(7)} per second   ${
      p50(ratios).toFixed(2)
    } times bare`,
  );
} finally {
  rmSync(folder, { recursive: true, force: true });
}
process.exit(0);
