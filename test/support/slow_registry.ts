import { createServer, request as ask } from "node:http";
import type { AddressInfo } from "node:net";

/** A registry behind a line that can be made to stop. */
export interface SlowRegistry extends AsyncDisposable {
  /** `127.0.0.1:port`, as a reference names it. */
  readonly host: string;
  /** The Range headers of requests for blobs, in their order; empty for none. */
  readonly ranges: readonly string[];
  /** As many bytes of a blob come through before the line stops. Infinity at first. */
  limitBytes: number;
}

/** Starts a proxy before a registry on this machine. */
export async function slowRegistry(upstream: string): Promise<SlowRegistry> {
  const ranges: string[] = [];
  const at = upstream.lastIndexOf(":");
  const target = { host: upstream.slice(0, at), port: Number(upstream.slice(at + 1)) };
  const server = createServer((request, response) => {
    const { url = "/", method, headers } = request;
    const blob = method === "GET" && url.includes("/blobs/");
    if (blob) ranges.push(headers.range ?? "");
    ask({ ...target, path: url, method, headers }, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      let left = blob ? slow.limitBytes : Infinity;
      answer.on("data", (chunk: Uint8Array) => {
        if (left > 0) response.write(chunk.subarray(0, left));
        left -= chunk.length;
      });
      answer.on("end", () => {
        if (left >= 0) response.end();
      });
    }).end();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const slow: SlowRegistry = {
    host: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    ranges,
    limitBytes: Infinity,
    [Symbol.asyncDispose]: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
  return slow;
}
