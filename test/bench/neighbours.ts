/*
 * What a function that does what it should not does to others: latencies of a good function alone, and beside callers of
 * each bad one, in turns; and what those callers are told.
 *
 *     node test/bench/neighbours.ts [requests] [callers] [name]      (or deno run -A, bun)
 *
 * `requests` of the good function for each figure (default 300), `callers` of the bad one at once (default 2).
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { currentHost } from "../../src/host/mod.ts";
import { type BadFunction, badFunctions, callBad } from "../support/bad_functions.ts";
import { makeBusyboxImage } from "../support/busybox_image.ts";
import { MayflyProcess } from "../support/mayfly_process.ts";
import { milliseconds as ms, quantile } from "./figures.ts";
import { load } from "./load.ts";

const requests = Number(process.argv[2] ?? 300);
const callers = Number(process.argv[3] ?? 2);
const only = process.argv[4];
const rounds = 5;
const host = await currentHost();
const folder = mkdtempSync(join(tmpdir(), "mayfly-bench-"));

/** Calls a bad function again and again, until it is stopped. @returns how often which answer was given. */
function pester(url: string, bad: BadFunction): () => Promise<ReadonlyMap<string, number>> {
  const told = new Map<string, number>();
  const stop = new AbortController();
  const caller = async () => {
    while (!stop.signal.aborted) {
      const answer = await callBad(url, bad, stop.signal).catch((error) =>
        stop.signal.aborted ? "given up" : String(error)
      );
      if (answer !== "given up") told.set(answer, (told.get(answer) ?? 0) + 1);
    }
  };
  const calling = Promise.all(Array.from({ length: callers }, caller));
  return async () => {
    stop.abort();
    await calling;
    return told;
  };
}

let daemon: MayflyProcess | undefined;
try {
  daemon = await MayflyProcess.start(folder, ["--log-level", "error"]);
  const { url } = daemon;
  const admin = async (method: string, path: string, body: object) => {
    const answer = await daemon!.admin(method, path, body);
    if (!answer.ok) throw new Error(await answer.text());
  };
  await admin("POST", "/v1/images/import", { path: makeBusyboxImage(folder, "bench:1") });
  await admin("PUT", "/v1/functions/good", { image: "bench:1", command: ["cat"] });
  const good = (count: number) => load(`${url}/fn/good`, 1, count, "some bytes");
  await good(100);

  console.log(
    `${host.name} ${host.version}, ${requests} requests of a good function, ${callers} callers of a bad one, ms`,
  );
  console.log(`${"".padEnd(20)}    p50 alone beside  ratio      p99 alone beside  ratio   its callers were told`);
  for (const bad of badFunctions.filter(({ name }) => only === undefined || name === only)) {
    await admin("PUT", `/v1/functions/${bad.name}`, { image: "bench:1", ...bad.input });
    const [alone, beside]: [number[], number[]] = [[], []];
    const ratios = new Map<number, number[]>([[0.5, []], [0.99, []]]);
    const told = new Map<string, number>();
    for (let round = 0; round < rounds; round++) {
      const before = (await good(requests / rounds)).latencies;
      const stop = pester(url, bad);
      // They are in the middle of it, as they would be for most of the time.
      await new Promise((resolve) => setTimeout(resolve, 1000));
      const among = (await good(requests / rounds)).latencies;
      for (const [answer, count] of await stop()) told.set(answer, (told.get(answer) ?? 0) + count);
      alone.push(...before);
      beside.push(...among);
      for (const [part, list] of ratios) list.push(quantile(among, part) / quantile(before, part));
    }
    const cell = (part: number) =>
      `${ms(quantile(alone, part))}${ms(quantile(beside, part))}  ${
        quantile(ratios.get(part) ?? [], 0.5).toFixed(2).padStart(5)
      }`;
    // One whole call, where the rounds were too short for one.
    if (told.size === 0) told.set(await callBad(url, bad), 1);
    const answers = Array.from(told, ([answer, count]) => `${answer} ×${count}`).join(", ");
    const wrong = [...told.keys()].some((answer) => !bad.told.includes(answer));
    console.log(
      `${bad.name.padEnd(20)} ${cell(0.5)}    ${cell(0.99)}   ${answers}${wrong ? ` (wanted ${bad.told.join()})` : ""}`,
    );
    if (wrong) process.exitCode = 1;
  }
} finally {
  await daemon?.end("SIGTERM");
  rmSync(folder, { recursive: true, force: true });
}
process.exit();
