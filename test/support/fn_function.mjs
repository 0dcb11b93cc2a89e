// What a function development kit of Fn's does, without any package: it serves on a socket that becomes visible when it listens.
import { chmodSync, symlinkSync } from "node:fs";
import { createServer } from "node:http";
import { dirname, join } from "node:path";
import process from "node:process";

const path = process.env.FN_LISTENER.replace("unix:", "");
const own = join(dirname(path), "own.sock");
let running = 0;

createServer(async (request, response) => {
  running++;
  let body = "";
  for await (const part of request) body += part;
  const { headers, method, url } = request;
  if (body === "fail") {
    running--;
    return response.writeHead(502, { "fn-fdk-version": "test" }).end("it failed");
  }
  response.writeHead(200, {
    "content-type": "application/json",
    "fn-fdk-version": "test",
    "fn-http-status": body === "odd" ? "abc" : "202",
    "fn-http-h-x-own": "yes",
    "fn-http-h-connection": "upgrade",
  });
  response.end(JSON.stringify({ method, url, body, headers, running, format: process.env.FN_FORMAT }));
  running--;
}).listen(own, () => {
  chmodSync(own, 0o666);
  symlinkSync("own.sock", path);
});
