/**
 * The main job from nothing: make an image, import it, deploy it, send it a file over HTTP, and look at what happened.
 * Needs root and npm's packages; no daemon, registry or other tool. Everything it makes is gone when it ends.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { readConfig } from "../../src/config.ts";
import { messageOf } from "../../src/core/errors.ts";
import type { Invocation, Phase } from "../../src/core/invocation.ts";
import { openDaemon } from "../../src/daemon.ts";
import { currentHost } from "../../src/host/mod.ts";
import { esbuild, makeImage } from "./image.ts";
import { waterfall } from "./waterfall.ts";

const input = join(dirname(fileURLToPath(import.meta.url)), "mayfly.ts");
const say = (text = "") => console.log(text);

async function main(): Promise<void> {
  if (!existsSync(esbuild())) throw new Error("esbuild is not here: run npm install first");
  const folder = mkdtempSync(join(tmpdir(), "mayfly-demo-"));
  try {
    await demo(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function demo(folder: string): Promise<void> {
  const host = await currentHost();
  say(`\n  )(  mayfly on ${host.name} ${host.version}: one request, one container, one short life\n  ""`);

  const outer: Phase[] = [];
  const began = performance.now();
  const timed = async <T>(name: string, work: () => Promise<T> | T): Promise<T> => {
    const start = performance.now();
    const value = await work();
    outer.push({ name, startMs: start - began, durationMs: performance.now() - start });
    return value;
  };

  await timed("make image", () => makeImage(join(folder, "layout"), "minify:latest"));
  await using daemon = await timed(
    "open daemon",
    () =>
      openDaemon(
        host,
        readConfig({
          flags: { root: join(folder, "root"), run: join(folder, "run"), listen: "127.0.0.1:0", "log-level": "warn" },
        }),
      ),
  );
  const url = (await daemon.listen()).find((address) => address.startsWith("http://"));

  const admin = async (method: string, path: string, body: unknown) => {
    const answer = await daemon.fetch(
      new Request(`http://mayfly${path}`, {
        method,
        headers: { "content-type": "application/json" },
        body: JSON.stringify(body),
      }),
    );
    const result = await answer.json();
    if (!answer.ok) throw new Error(`${method} ${path}: ${JSON.stringify(result)}`);
    return result;
  };
  await timed(
    "import",
    () => admin("POST", "/v1/images/import", { path: join(folder, "layout"), name: "minify:latest" }),
  );
  await timed("deploy", () =>
    admin("PUT", "/v1/functions/minify", {
      image: "minify:latest",
      command: ["/esbuild", "--minify", "--loader=ts"],
      contentType: "text/javascript",
    }));

  const source = readFileSync(input);
  say(`\n  $ curl --data-binary @examples/minify/mayfly.ts ${url}/fn/minify\n`);
  let last: Response | undefined;
  let answer = "";
  const trips: number[] = [];
  for (let i = 0; i < 5; i++) {
    const start = performance.now();
    last = await fetch(`${url}/fn/minify`, { method: "POST", body: source });
    answer = await last.text();
    trips.push(performance.now() - start);
    if (!last.ok) throw new Error(`the function answered ${last.status}: ${answer}`);
  }
  for (const line of answer.trim().match(/.{1,96}/gs) ?? []) say(`    ${line}`);
  say(`\n  ${source.length} bytes in, ${answer.length} out, by a container that no longer exists.`);

  const id = last?.headers.get("x-mayfly-invocation") ?? "";
  const record = await daemon.fetch(new Request(`http://mayfly/v1/invocations/${id}`)).then((r) =>
    r.json()
  ) as Invocation;

  say("\n  once, before the first request");
  for (const line of waterfall(outer)) say(`    ${line}`);
  say(`\n  invocation ${id}, exit code ${record.exitCode}`);
  for (const line of waterfall(record.phases)) say(`    ${line}`);
  const each = trips.map((ms) => ms.toFixed(1)).join(", ");
  say(`\n  5 requests, 5 containers: ${each} ms each, as the client sees it. Adult mayflies get about a day.\n`);
}

try {
  await main();
} catch (error) {
  console.error(`\n  the demo failed: ${messageOf(error)}\n`);
  process.exitCode = 1;
}
