/*
 * What users of its own cost an invocation: the same function with and without them, in turns.
 *
 *     node test/bench/userns.ts [requests]      (or deno run -A, bun)
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { currentHost } from "../../src/host/mod.ts";
import { BenchDaemon } from "./daemon.ts";
import { milliseconds as ms, quantile } from "./figures.ts";
import { load } from "./load.ts";

const requests = Number(process.argv[2] ?? 400);
const rounds = 10;
const kinds = ["host", "auto"] as const;
const host = await currentHost();
const folder = mkdtempSync(join(tmpdir(), "mayfly-bench-"));

try {
  await using daemon = await BenchDaemon.open(host, folder);
  for (const userns of kinds) {
    await daemon.admin("PUT", `/v1/functions/${userns}`, { image: "bench:1", command: ["/bin/true"], userns });
    await load(`${daemon.url}/fn/${userns}`, 1, 30);
  }
  const times: Record<(typeof kinds)[number], number[]> = { host: [], auto: [] };
  const ratios: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const medians = { host: 0, auto: 0 };
    for (const userns of kinds) {
      const { latencies } = await load(`${daemon.url}/fn/${userns}`, 1, requests / rounds);
      times[userns].push(...latencies);
      medians[userns] = quantile([...latencies], 0.5);
    }
    ratios.push(medians.auto / medians.host);
  }
  console.log(`${host.name} ${host.version}, ${requests} requests of a static true, milliseconds`);
  console.log(`${"".padEnd(28)}${"p50".padStart(7)}${"p99".padStart(7)}`);
  for (const userns of kinds) {
    const all = times[userns];
    console.log(`${`--userns ${userns}`.padEnd(28)}${ms(quantile(all, 0.5))}${ms(quantile(all, 0.99))}`);
  }
  console.log(`auto takes ${quantile(ratios, 0.5).toFixed(2)} times host (median of ${rounds} rounds)`);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
process.exit(0);
