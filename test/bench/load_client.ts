/**
 * A client in a process of its own, so that it does not share the server's event loop.
 * `node load_client.ts <url> <concurrency> <count> [body]` prints `{ "latencies": [ms…], "seconds": s, "failed": n }`.
 */
import { Agent, request } from "node:http";
import process from "node:process";

const [url = "", concurrency = "1", count = "100", body = ""] = process.argv.slice(2);
const agent = new Agent({ keepAlive: true, maxSockets: Number(concurrency) });
const latencies: number[] = [];
let left = Number(count);
let failed = 0;

function once(): Promise<void> {
  return new Promise((resolve) => {
    const start = performance.now();
    const call = request(url, { method: body === "" ? "GET" : "POST", agent }, (answer) => {
      if (answer.statusCode !== 200) failed++;
      answer.resume();
      answer.on("end", () => {
        latencies.push(performance.now() - start);
        resolve();
      });
      answer.on("error", () => resolve());
    });
    call.on("error", () => {
      failed++;
      resolve();
    });
    call.end(body);
  });
}

async function worker(): Promise<void> {
  while (left-- > 0) await once();
}

const start = performance.now();
await Promise.all(Array.from({ length: Number(concurrency) }, worker));
const seconds = (performance.now() - start) / 1000;
process.stdout.write(JSON.stringify({ latencies, seconds, failed }));
process.exit(0);
