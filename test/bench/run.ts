/*
 * Every benchmark, one after the other, on the host that runs this: `npm run bench`, or on all three with `-- all`.
 * Figures are medians, and ratios of what ran in turns; the machine should do nothing else meanwhile.
 */
import { spawnSync } from "node:child_process";
import { cpus, release } from "node:os";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { currentHost } from "../../src/host/mod.ts";

const benchmarks: readonly (readonly [string, ...string[]])[] = [
  ["lifecycle.ts", "300"],
  ["containers.ts", "10"],
  ["http.ts", "500"],
  ["prepared.ts", "500"],
  ["userns.ts", "500"],
  ["layers.ts", "300"],
  ["stream.ts", "1024"],
  ["pull.ts", "5"],
  ["memory.ts", "10000"],
  ["push.ts", "128"],
  ["registry.ts", "128"],
  ["neighbours.ts", "300"],
  ["queued.ts", "100000", "2000"],
  ["gc.ts", "1000", "100000"],
];

const commands = {
  deno: ["deno", "run", "-A", "--no-check"],
  bun: ["bun"],
  node: ["node"],
} as const;

const hosts = process.argv.includes("all") ? (["deno", "bun", "node"] as const) : [(await currentHost()).name];
console.log(`${cpus().length} processors (${cpus()[0]?.model.trim()}), Linux ${release()}`);
for (const name of hosts) {
  for (const [file, ...args] of benchmarks) {
    console.log();
    const [program, ...first] = commands[name];
    const path = fileURLToPath(new URL(file, import.meta.url));
    const { status } = spawnSync(program, [...first, path, ...args], { stdio: "inherit" });
    if (status !== 0) process.exitCode = 1;
  }
}
