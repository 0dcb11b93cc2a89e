/*
 * What a request takes through the daemon to a container that serves HTTP and lives on, and to the same server called
 * directly, in turns: one at a time, eight at once, and the first one after a freeze.
 *
 *     node test/bench/served.ts [requests]      (or deno run -A, bun; it wants Go, golang-go)
 */
import { execFileSync, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { currentHost } from "../../src/host/mod.ts";
import { BenchDaemon } from "./daemon.ts";
import { milliseconds as ms, quantile } from "./figures.ts";
import { load } from "./load.ts";

const requests = Number(process.argv[2] ?? 2000);
const rounds = 5;
const freezeMs = 2500;
const host = await currentHost();
const folder = mkdtempSync(join(tmpdir(), "mayfly-bench-"));
const port = 20_000 + process.pid % 10_000;

try {
  const programs = join(folder, "programs");
  mkdirSync(programs);
  const source = fileURLToPath(new URL("./hello.go", import.meta.url));
  execFileSync("go", ["build", "-o", join(programs, "hello"), source], {
    env: { ...process.env, CGO_ENABLED: "0" },
    stdio: "inherit",
  });
  const direct = spawn("setpriv", ["--pdeathsig", "KILL", join(programs, "hello")], {
    env: { ...process.env, HOST: "127.0.0.1", PORT: String(port) },
    stdio: "inherit",
  });
  await using daemon = await BenchDaemon.open(host, folder);
  await daemon.admin("PUT", "/v1/functions/hello", {
    image: "bench:1",
    command: ["sh", "-c", "exec /programs/hello"],
    mounts: [{ type: "bind", source: programs, target: "/programs", readonly: true }],
    protocol: "http",
    maxInstances: 1,
    cpus: 2,
  });
  const urls = new Map([["direct", `http://127.0.0.1:${port}/`], ["mayfly", `${daemon.url}/fn/hello`]]);
  const latencies = new Map<string, number[]>();
  const rates = new Map<string, number[]>();
  /** Microseconds of this process for each request: unlike rates, they tell something on a busy machine, too. */
  const costs = new Map<string, number[]>();
  const add = (map: Map<string, number[]>, name: string, values: readonly number[]) =>
    map.set(name, [...map.get(name) ?? [], ...values]);
  for (const url of urls.values()) await load(url, 8, 500);
  for (let round = 0; round < rounds; round++) {
    for (const [name, url] of urls) add(latencies, name, (await load(url, 1, requests / rounds)).latencies);
    for (const [name, url] of urls) {
      const before = process.cpuUsage();
      add(rates, name, [requests / (await load(url, 8, requests)).seconds]);
      const { user, system } = process.cpuUsage(before);
      add(costs, name, [(user + system) / requests]);
    }
  }
  console.log(`${host.name} ${host.version}, ${requests} requests to a server of Go, milliseconds`);
  console.log(`${"".padEnd(12)}${"p50".padStart(7)}${"p99".padStart(7)}${"8 at once, per s".padStart(20)}`);
  const middle = (values: readonly number[] = []) => quantile([...values], 0.5);
  for (const name of urls.keys()) {
    const each = latencies.get(name) ?? [];
    const rate = middle(rates.get(name)).toFixed(0).padStart(20);
    console.log(`${name.padEnd(12)}${ms(middle(each))}${ms(quantile([...each], 0.99))}${rate}`);
  }
  const share = middle(rates.get("mayfly")) / middle(rates.get("direct"));
  console.log(
    `through mayfly: ${share.toFixed(2)} of the rate, ${middle(costs.get("mayfly")).toFixed(0)} µs of CPU each`,
  );
  const thawed: number[] = [];
  for (let i = 0; i < rounds; i++) {
    await new Promise((resolve) => setTimeout(resolve, freezeMs));
    thawed.push(...(await load(`${daemon.url}/fn/hello`, 1, 1)).latencies);
  }
  console.log(`thawed: ${ms(middle(thawed))}`);
  direct.kill();
} finally {
  rmSync(folder, { recursive: true, force: true });
}
process.exit(0);
