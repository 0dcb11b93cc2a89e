/*
 * What the number of an image's layers costs an invocation, on overlay and erofs, in turns.
 *
 *     node test/bench/layers.ts [requests]      (or deno run -A, bun)
 */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { currentHost } from "../../src/host/mod.ts";
import { tarOf } from "../images/tar_bytes.ts";
import { LayoutFolder } from "../support/layout_folder.ts";
import { BenchDaemon } from "./daemon.ts";
import { milliseconds as ms, quantile } from "./figures.ts";
import { load } from "./load.ts";

const requests = Number(process.argv[2] ?? 200);
const rounds = 10;
const counts = [2, 40] as const;
const snapshotters = ["overlay", "erofs"] as const;
const host = await currentHost();
const folder = mkdtempSync(join(tmpdir(), "mayfly-bench-"));

try {
  await using daemon = await BenchDaemon.open(host, folder);
  const layout = new LayoutFolder(join(folder, "layered"));
  const program = { path: "bin/true", content: readFileSync("/bin/busybox"), mode: 0o755 };
  const times = new Map<string, number[]>();
  for (const count of counts) {
    const layers = Array.from(
      { length: count },
      (_, i) => tarOf(...i === 0 ? [program] : [], { path: `${i}-of-${count}`, content: String(i) }),
    );
    const name = `layers-${count}:1`;
    await daemon.admin("POST", "/v1/images/import", { path: layout.name({ [name]: layout.image(layers) }), name });
    for (const snapshotter of snapshotters) {
      const settings = { image: name, command: ["/bin/true"], snapshotter };
      await daemon.admin("PUT", `/v1/functions/${snapshotter}-${count}`, settings);
      await load(`${daemon.url}/fn/${snapshotter}-${count}`, 1, 30);
      times.set(`${snapshotter}-${count}`, []);
    }
  }
  for (let round = 0; round < rounds; round++) {
    for (const [name, all] of times) {
      all.push(...(await load(`${daemon.url}/fn/${name}`, 1, requests / rounds)).latencies);
    }
  }
  console.log(`${host.name} ${host.version}, ${requests} requests of a static true, p50 in milliseconds`);
  for (const snapshotter of snapshotters) {
    const [few, many] = counts.map((count) => quantile(times.get(`${snapshotter}-${count}`) ?? [], 0.5));
    const figures = `${ms(few ?? NaN)} of ${counts[0]} layers,${ms(many ?? NaN)} of ${counts[1]}`;
    console.log(`${snapshotter.padEnd(10)}${figures}: ${((many ?? NaN) / (few ?? NaN)).toFixed(2)} times`);
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
process.exit(0);
