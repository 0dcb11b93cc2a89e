/*
 * What the daemon holds after many invocations: its memory and its descriptors, a tenth of them at a time.
 *
 *     node --expose-gc test/bench/memory.ts [requests]      (or deno run -A --v8-flags=--expose-gc, bun --expose-gc)
 */
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { readConfig } from "../../src/config.ts";
import { openDaemon } from "../../src/daemon.ts";
import { currentHost } from "../../src/host/mod.ts";
import { makeBusyboxImage } from "../support/busybox_image.ts";
import { load } from "./load.ts";

const requests = Number(process.argv[2] ?? 100_000);
const concurrency = 8;
const tenths = 10;
const host = await currentHost();
const folder = mkdtempSync(join(tmpdir(), "mayfly-bench-"));

/** Lets go of what nobody holds, where this process was started so that it can be asked to. */
function collect(): void {
  const { gc } = globalThis as { readonly gc?: () => void };
  gc?.();
}

function line(...cells: readonly (string | number)[]): void {
  console.log(cells.map((cell) => String(cell).padStart(12)).join(""));
}

function measure(sent: number, perSecond: number): void {
  collect();
  const { rss, heapUsed, external } = process.memoryUsage();
  const mebibytes = [rss, heapUsed, external].map((bytes) => (bytes / 2 ** 20).toFixed(1));
  line(sent, ...mebibytes, readdirSync("/proc/self/fd").length, perSecond.toFixed(0));
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
  await admin("PUT", "/v1/functions/cat", { image: "bench:1", command: ["/bin/cat"] });

  console.log(`${host.name} ${host.version}, ${requests} invocations of cat, ${concurrency} at once, MiB`);
  line("invocations", "rss", "heap", "external", "descriptors", "per second");
  measure(0, 0);
  for (let tenth = 1; tenth <= tenths; tenth++) {
    const { seconds } = await load(`${url}/fn/cat`, concurrency, requests / tenths, "some bytes to carry");
    measure(tenth * requests / tenths, requests / tenths / seconds);
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
process.exit(0);
