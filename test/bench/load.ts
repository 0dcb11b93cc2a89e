import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";

export interface Load {
  /** Milliseconds of each request. */
  readonly latencies: readonly number[];
  readonly seconds: number;
  readonly failed: number;
}

const client = fileURLToPath(new URL("./load_client.ts", import.meta.url));

/**
 * Sends requests from a process of its own; that one runs on Node, whatever the server runs on.
 * @param body sent with POST; none is sent with GET. @param restMs between an answer and the next request.
 * @throws when a request is not answered with `status`, 200 by default.
 */
export async function load(
  url: string,
  concurrency: number,
  count: number,
  body = "",
  restMs = 0,
  status = 200,
): Promise<Load> {
  const child = spawn("node", [client, url, ...[concurrency, count, body, restMs, status].map(String)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let text = "";
  for await (const chunk of child.stdout) text += String(chunk);
  const result = JSON.parse(text) as Load;
  if (result.failed > 0) throw new Error(`${result.failed} of ${count} requests failed`);
  return result;
}
