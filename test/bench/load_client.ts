/**
 * A client in a process of its own, so that it does not share the server's event loop; on sockets alone, so that it takes
 * little of the machine that the server and its containers share with it.
 * `node load_client.ts <url> <concurrency> <count> [body] [restMs] [status]` prints `{ "latencies": [ms…], "seconds": s, "failed": n }`.
 */
import { connect } from "node:net";
import process from "node:process";

const [url = "", concurrency = "1", count = "100", body = "", restMs = "0", status = "200"] = process.argv.slice(2);
const { hostname, port, pathname, search, host } = new URL(url);
const request = body === ""
  ? `GET ${pathname}${search} HTTP/1.1\r\nhost: ${host}\r\n\r\n`
  : `POST ${pathname}${search} HTTP/1.1\r\nhost: ${host}\r\ncontent-length: ${body.length}\r\n\r\n${body}`;
const latencies: number[] = [];
let left = Number(count);
let failed = 0;

/** Whether this is all of an answer: it has the length that it tells, or the last of its chunks. */
function isWhole(answer: string): boolean {
  const end = answer.indexOf("\r\n\r\n");
  if (end < 0) return false;
  const length = /\r\ncontent-length: *(\d+)/i.exec(answer.slice(0, end))?.[1];
  return length === undefined ? answer.endsWith("\r\n0\r\n\r\n") : answer.length >= end + 4 + Number(length);
}

/** Sends one request after the other over one connection. */
function work(): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: hostname, port: Number(port), noDelay: true });
    let answer = "";
    let began = 0;
    const send = () => {
      if (left-- <= 0) return void socket.end(resolve);
      answer = "";
      began = performance.now();
      socket.write(request);
    };
    socket.setEncoding("latin1");
    socket.on("connect", send);
    socket.on("error", reject);
    socket.on("data", (chunk: string) => {
      answer += chunk;
      if (!isWhole(answer)) return;
      latencies.push(performance.now() - began);
      if (!answer.startsWith(`HTTP/1.1 ${status} `)) failed++;
      if (restMs === "0") send();
      else setTimeout(send, Number(restMs));
    });
  });
}

const start = performance.now();
await Promise.all(Array.from({ length: Number(concurrency) }, work));
const seconds = (performance.now() - start) / 1000;
// Not before all of it is in the pipe.
process.stdout.write(JSON.stringify({ latencies, seconds, failed }), () => process.exit(0));
