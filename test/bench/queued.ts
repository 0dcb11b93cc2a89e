/*
 * A queue that is long: how fast calls are accepted, beside bare commits of single rows in the same file; and what is left
 * of them when the daemon is killed: how soon the first runs, how many are lost, how many run twice.
 *
 *     node test/bench/queued.ts [queued] [run]      (or deno run -A, bun)
 *
 * `queued` calls wait when the daemon is killed; `run` of them are run behind it (default: all), the others counted.
 */
import { createClient } from "@libsql/client/sqlite3";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { currentHost } from "../../src/host/mod.ts";
import { makeBusyboxImage } from "../support/busybox_image.ts";
import { MayflyProcess } from "../support/mayfly_process.ts";
import { quantile } from "./figures.ts";
import { load } from "./load.ts";

const queued = Number(process.argv[2] ?? 100_000);
const toRun = Math.min(Number(process.argv[3] ?? queued), queued);
const rounds = 5;
const body = "some bytes to carry";
const host = await currentHost();
const folder = mkdtempSync(join(tmpdir(), "mayfly-bench-"));
const seen = join(folder, "seen");
const marks = join(seen, "ran");

/** As many rows as a call has bytes, each a commit that waits for the disk. @returns how many in a second. */
async function commits(path: string, count: number): Promise<number> {
  const client = createClient({ url: `file:${path}`, concurrency: 1, timeout: 5000 });
  try {
    await client.execute("PRAGMA journal_mode = WAL");
    await client.execute("PRAGMA synchronous = FULL");
    await client.execute("CREATE TABLE IF NOT EXISTS bare (id text PRIMARY KEY NOT NULL, data blob NOT NULL)");
    const data = new Uint8Array(400);
    const from = performance.now();
    for (let i = 0; i < count; i++) {
      await client.execute({ sql: "INSERT INTO bare VALUES (?, ?)", args: [crypto.randomUUID(), data] });
    }
    return count / ((performance.now() - from) / 1000);
  } finally {
    client.close();
  }
}

const start = () =>
  MayflyProcess.start(folder, [
    ...["--log-level", "error", "--max-calls", String(queued * 2), "--keep-calls", String(queued * 2)],
    ...["--call-concurrency", "8"],
  ]);
/** The ids of the calls that have run, one for each run. */
const ran = () => readFileSync(marks, "utf8").split("\n").filter((line) => line !== "");
const wait = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const ok = async (answer: Response) => {
  if (!answer.ok) throw new Error(await answer.text());
};

let daemon: MayflyProcess | undefined;
try {
  mkdirSync(seen, { mode: 0o777 });
  writeFileSync(marks, "", { mode: 0o666 });
  daemon = await start();
  await ok(await daemon.admin("POST", "/v1/images/import", { path: makeBusyboxImage(folder, "bench:1") }));
  // None runs before the daemon is killed: the gate is a file that the function waits for.
  const script = "until [ -e /seen/go ]; do sleep 0.1; done; echo $HTTP_X_CALL_ID >> /seen/ran";
  const mounts = [{ type: "bind", source: seen, target: "/seen" }];
  const input = { image: "bench:1", command: ["sh", "-c", script], mounts, user: "0" };
  await ok(await daemon.admin("PUT", "/v1/functions/note", input));

  console.log(`${host.name} ${host.version}, ${queued} calls are queued, 8 clients`);
  const url = `${daemon.url}/async/fn/note`;
  const database = join(folder, "root/mayfly.db");
  const sample = Math.max(Math.min(Math.floor(queued / rounds / 4), 500), 10);
  const [ratios, accepted, bare]: [number[], number[], number[]] = [[], [], []];
  // The first requests are slower.
  const warm = Math.floor(queued / 10);
  await load(url, 8, warm, body, 0, 202);
  let sent = warm;
  for (let round = 0; round < rounds; round++) {
    const single = await commits(database, sample);
    const { seconds } = await load(url, 8, sample, body, 0, 202);
    sent += sample;
    bare.push(single);
    accepted.push(sample / seconds);
    ratios.push(sample / seconds / single);
  }
  const one = await load(url, 1, sample, body, 0, 202);
  sent += sample;
  const p50 = (values: readonly number[]) => quantile(values, 0.5);
  console.log(
    `accepted per second          ${p50(accepted).toFixed(0)}, one client ${(sample / one.seconds).toFixed(0)}`,
  );
  console.log(`bare commits per second      ${p50(bare).toFixed(0)}`);
  console.log(`accepted for each commit     ${p50(ratios).toFixed(2)}   (wanted: 0.5 or more)`);
  const rest = await load(url, 8, Math.max(queued - sent, 0), body, 0, 202);
  console.log(
    `the rest, per second         ${((queued - sent) / rest.seconds).toFixed(0)}, p99 ${
      quantile(rest.latencies, 0.99).toFixed(1)
    } ms`,
  );

  await daemon.end("SIGKILL");
  writeFileSync(join(seen, "go"), "");
  const from = performance.now();
  daemon = await start();
  const listening = performance.now() - from;
  while (ran().length === 0) await wait(1);
  console.log(`from start to listening      ${listening.toFixed(0)} ms`);
  console.log(`from start to the first run  ${(performance.now() - from).toFixed(0)} ms`);
  const begun = performance.now();
  while (ran().length < toRun) await wait(100);
  console.log(`runs per second              ${(toRun / ((performance.now() - begun) / 1000)).toFixed(0)}`);
  // What was ended gracefully is not begun again.
  await daemon.end("SIGTERM");

  const client = createClient({ url: `file:${database}` });
  const count = async (sql: string) => Number((await client.execute(sql)).rows[0]?.[0]);
  const waiting = await count("SELECT count(*) FROM queue_messages");
  const succeeded = await count("SELECT count(*) FROM calls WHERE status = 'succeeded'");
  const other = await count("SELECT count(*) FROM calls WHERE status NOT IN ('succeeded', 'queued')");
  client.close();
  const times = ran();
  const distinct = new Set(times).size;
  console.log(`ran ${distinct}, succeeded ${succeeded}, wait ${waiting}, neither ${other}`);
  console.log(`lost                         ${queued - distinct - waiting}`);
  console.log(`doubled                      ${times.length - distinct}`);
} finally {
  await daemon?.end("SIGKILL");
  rmSync(folder, { recursive: true, force: true });
}
process.exit(0);
