/*
 * What a request over HTTP takes where a container waits for it, where it makes its own, and where a server forks the same
 * program without any isolation, in turns: one at a time, with a rest in which the next container is made; then eight at
 * once, without a rest.
 *
 *     node test/bench/prepared.ts [requests]      (or deno run -A, bun)
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

const requests = Number(process.argv[2] ?? 500);
const rounds = 5;
const restMs = 15;
const atOnce = 8;
const host = await currentHost();
const folder = mkdtempSync(join(tmpdir(), "mayfly-bench-"));

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
  if (forking !== undefined) {
    console.log(`than forked: prepared takes ${ratio("prepared", "forked")}, cold ${ratio("cold", "forked")} times`);
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
process.exit(0);
