/*
 * The rate of a large body through `cat` in a container, beside the same host's HTTP server echoing it with no container.
 *
 *     node test/bench/stream.ts [MiB]      (or deno run -A, bun)
 */
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { readConfig } from "../../src/config.ts";
import { openDaemon } from "../../src/daemon.ts";
import { currentHost } from "../../src/host/mod.ts";
import { makeBusyboxImage } from "../support/busybox_image.ts";
import { quantile } from "./figures.ts";

const mebibytes = Number(process.argv[2] ?? 1024);
const rounds = 3;
const host = await currentHost();
const folder = mkdtempSync(join(tmpdir(), "mayfly-bench-"));

/** Sends zeros with curl and reads them back. @returns MiB per second. */
async function rate(url: string): Promise<number> {
  const command = `head -c ${mebibytes}M /dev/zero | curl -sS -f -T - -X POST -o - '${url}' | wc -c`;
  const began = performance.now();
  const child = spawn("bash", ["-o", "pipefail", "-c", command], { stdio: ["ignore", "pipe", "inherit"] });
  let text = "";
  for await (const chunk of child.stdout) text += String(chunk);
  const seconds = (performance.now() - began) / 1000;
  if (Number(text) !== mebibytes * 1024 * 1024) throw new Error(`${text.trim()} bytes came back of ${mebibytes} MiB`);
  return mebibytes / seconds;
}

try {
  const layout = makeBusyboxImage(folder, "bench:1");
  const plugins = { "runtime/native": { cgroupParent: `/mayfly-bench-${process.pid}` } };
  const flags = { root: join(folder, "root"), run: join(folder, "run"), listen: "127.0.0.1:0", "log-level": "warn" };
  await using daemon = await openDaemon(host, readConfig({ flags: { ...flags, plugins: JSON.stringify(plugins) } }));
  const url = (await daemon.listen()).find((address) => address.startsWith("http://")) ?? "";
  const admin = async (method: string, path: string, body: unknown) => {
    const request = { method, headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
    const answer = await daemon.fetch(new Request(`http://mayfly${path}`, request));
    if (!answer.ok) throw new Error(await answer.text());
  };
  await admin("POST", "/v1/images/import", { path: layout });
  await admin("PUT", "/v1/functions/cat", {
    image: "bench:1",
    command: ["/bin/cat"],
    maxBodyBytes: 0,
    timeoutMs: 600_000,
  });
  const echo = await host.serve({ hostname: "127.0.0.1", port: 0 }, (request) => new Response(request.body));

  const [plain, through, ratios]: number[][] = [[], [], []];
  let peak = 0;
  const watch = setInterval(() => peak = Math.max(peak, process.memoryUsage.rss()), 50);
  for (let round = 0; round < rounds; round++) {
    const without = await rate(`http://127.0.0.1:${echo.port}/`);
    const within = await rate(`${url}/fn/cat`);
    plain?.push(without);
    through?.push(within);
    ratios?.push(within / without);
  }
  clearInterval(watch);
  await echo.close({ force: true });
  const p50 = (values: readonly number[] | undefined) => quantile(values ?? [], 0.5);
  console.log(`${host.name} ${host.version}, ${mebibytes} MiB there and back`);
  console.log(`echo without a container    ${p50(plain).toFixed(0).padStart(7)} MiB per second`);
  console.log(
    `cat in a container          ${p50(through).toFixed(0).padStart(7)} MiB per second   ${
      p50(ratios).toFixed(2)
    } times that`,
  );
  console.log(`most memory of this process ${(peak / 2 ** 20).toFixed(0).padStart(7)} MiB`);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
process.exit(0);
