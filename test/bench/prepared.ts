/*
 * What a request over HTTP takes where a container waits for it, where it makes its own, and where a server forks the same
 * program without any isolation, in turns: one at a time, with a rest in which the next container is made; then eight at
 * once, without a rest.
 *
 *     node test/bench/prepared.ts [requests] [--breakdown]      (or deno run -A, bun)
 *
 * The breakdown says where the time of a request goes for which a container waits.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { currentHost } from "../../src/host/mod.ts";
import { BenchDaemon } from "./daemon.ts";
import { milliseconds as ms, quantile } from "./figures.ts";
import { ForkingServer } from "./forking.ts";
import { load } from "./load.ts";

const breakdown = process.argv.includes("--breakdown");
const requests = Number(process.argv.slice(2).find((each) => !each.startsWith("--")) ?? 500);
const rounds = 5;
const restMs = 15;
const atOnce = 8;
const host = await currentHost();
const folder = mkdtempSync(join(tmpdir(), "mayfly-bench-"));

interface Ran {
  readonly phases: readonly { readonly name: string; readonly durationMs: number }[];
  readonly cpuMicros?: number;
}

/** HTTP alone, the steps of an invocation, and what of the processors' time both sides took. Medians need not add up. */
async function breakDown(daemon: BenchDaemon, url: string): Promise<void> {
  const count = 100;
  const p50 = (values: readonly number[]) => ms(quantile([...values], 0.5));
  const http = await load(`${daemon.url}/healthz`, 1, count, "", restMs);
  const before = process.cpuUsage();
  const whole = await load(url, 1, count, "", restMs);
  const { user, system } = process.cpuUsage(before);
  const { items } = await daemon.admin("GET", `/v1/invocations?function=prepared&limit=${count}`) as { items: Ran[] };
  const phases = new Map<string, number[]>();
  for (const { name, durationMs } of items.flatMap((each) => each.phases)) {
    phases.set(name, [...phases.get(name) ?? [], durationMs]);
  }
  const steps = Array.from(phases, ([name, times]) => `${name}${p50(times)}`).join(", ");
  console.log(
    `prepared${p50(whole.latencies)}, of which HTTP alone${p50(http.latencies)}; ${steps} (behind the answer)`,
  );
  const each = (micros: number) => ms(micros / 1000 / count);
  console.log(
    `processor time each: daemon, with making the next container, user${each(user)}, system${each(system)}; ` +
      `container, from its making on${p50(items.map(({ cpuMicros = 0 }) => cpuMicros / 1000))}`,
  );
}

try {
  await using daemon = await BenchDaemon.open(host, folder);
  const urls = new Map<string, string>();
  for (const [kind, prepared] of [["cold", 0], ["prepared", 16]] as const) {
    await daemon.admin("PUT", `/v1/functions/${kind}`, { image: "bench:1", command: ["/bin/true"], prepared });
    urls.set(kind, `${daemon.url}/fn/${kind}`);
  }
  using forking = await ForkingServer.start(folder, ["/bin/busybox", "true"]);
  if (forking === undefined) console.log("no forking server beside it: it wants Go (golang-go)");
  else urls.set("forked", `${forking.url}/`);

  const times = new Map<string, number[]>();
  const rates = new Map<string, number[]>();
  const add = (map: Map<string, number[]>, kind: string, values: readonly number[]) =>
    map.set(kind, [...map.get(kind) ?? [], ...values]);
  for (const url of urls.values()) await load(url, 1, 50, "", restMs);
  for (let round = 0; round < rounds; round++) {
    for (const [kind, url] of urls) add(times, kind, (await load(url, 1, requests / rounds, "", restMs)).latencies);
    for (const [kind, url] of urls) add(rates, kind, [requests / (await load(url, atOnce, requests)).seconds]);
  }
  console.log(`${host.name} ${host.version}, ${requests} requests of a static true, ${restMs} ms apart, milliseconds`);
  console.log(`${"".padEnd(12)}${"p50".padStart(7)}${"p99".padStart(7)}${`${atOnce} at once, per s`.padStart(20)}`);
  const middle = (values: readonly number[] = []) => quantile([...values], 0.5);
  for (const kind of urls.keys()) {
    const each = times.get(kind) ?? [];
    console.log(
      `${kind.padEnd(12)}${ms(middle(each))}${ms(quantile([...each], 0.99))}${
        middle(rates.get(kind)).toFixed(0).padStart(20)
      }`,
    );
  }
  const ratio = (kind: string, of: string) => (middle(times.get(kind)) / middle(times.get(of))).toFixed(2);
  console.log(`prepared takes ${ratio("prepared", "cold")} of cold`);
  if (breakdown) await breakDown(daemon, urls.get("prepared") ?? "");
  if (forking !== undefined) {
    console.log(`than forked: prepared takes ${ratio("prepared", "forked")}, cold ${ratio("cold", "forked")} times`);
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
process.exit(0);
