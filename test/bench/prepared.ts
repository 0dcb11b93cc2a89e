/*
 * What a request over HTTP takes where a container waits for it, and where it makes its own, in turns. Requests come one at
 * a time, with a rest between them in which the next container is made.
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
import { load } from "./load.ts";

const requests = Number(process.argv[2] ?? 500);
const rounds = 5;
const restMs = 15;
const kinds = ["cold", "prepared"] as const;
const host = await currentHost();
const folder = mkdtempSync(join(tmpdir(), "mayfly-bench-"));

try {
  await using daemon = await BenchDaemon.open(host, folder);
  for (const kind of kinds) {
    const prepared = kind === "prepared" ? 4 : 0;
    await daemon.admin("PUT", `/v1/functions/${kind}`, { image: "bench:1", command: ["/bin/true"], prepared });
    await load(`${daemon.url}/fn/${kind}`, 1, 50, "", restMs);
  }
  const times: Record<(typeof kinds)[number], number[]> = { cold: [], prepared: [] };
  const ratios: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const medians = { cold: 0, prepared: 0 };
    for (const kind of kinds) {
      const { latencies } = await load(`${daemon.url}/fn/${kind}`, 1, requests / rounds, "", restMs);
      times[kind].push(...latencies);
      medians[kind] = quantile([...latencies], 0.5);
    }
    ratios.push(medians.prepared / medians.cold);
  }
  console.log(`${host.name} ${host.version}, ${requests} requests of a static true, ${restMs} ms apart, milliseconds`);
  console.log(`${"".padEnd(12)}${"p50".padStart(7)}${"p99".padStart(7)}`);
  for (const kind of kinds) {
    console.log(`${kind.padEnd(12)}${ms(quantile(times[kind], 0.5))}${ms(quantile(times[kind], 0.99))}`);
  }
  console.log(`prepared takes ${quantile(ratios, 0.5).toFixed(2)} of cold (median of ${rounds} rounds)`);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
process.exit(0);
