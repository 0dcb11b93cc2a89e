import { type IncomingMessage, request as httpRequest } from "node:http";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { Host } from "../core/host.ts";
import { connectFailure } from "./http_failures.ts";

/** @see Host.fetchUnix */
export const fetchUnix: Host["fetchUnix"] = async (path, request) => {
  const url = new URL(request.url);
  const outgoing = httpRequest({
    socketPath: path,
    method: request.method,
    path: url.pathname + url.search,
    headers: { host: url.host, ...Object.fromEntries(request.headers) },
    signal: request.signal,
  });
  const answer = new Promise<IncomingMessage>((resolve, reject) => {
    const { signal } = request;
    // Deno says nothing of a request that is destroyed before its answer, and answers it all the same.
    outgoing.once("response", (incoming) => signal.aborted ? incoming.destroy() : resolve(incoming));
    outgoing.on("error", reject);
    signal.addEventListener("abort", () => {
      outgoing.socket?.destroy();
      reject(signal.reason);
    }, { once: true });
  });
  // An answer may come, and be all that matters, before the body has been taken.
  if (request.body === null) outgoing.end();
  else pipeline(request.body as unknown as AsyncIterable<Uint8Array>, outgoing).catch(() => {});
  try {
    return toResponse(await answer);
  } catch (error) {
    throw connectFailure(path, request.signal, error);
  }
};

const bodiless = new Set([204, 205, 304]);

/** An answer of `node:http` as the web has it. */
export function toResponse(incoming: IncomingMessage): Response {
  const status = incoming.statusCode ?? 500;
  const headers = new Headers();
  for (const [name, values] of Object.entries(incoming.headersDistinct)) {
    for (const value of values ?? []) headers.append(name, value);
  }
  if (bodiless.has(status)) {
    incoming.resume();
    return new Response(null, { status, headers });
  }
  const body = Readable.toWeb(incoming) as unknown as ReadableStream<Uint8Array<ArrayBuffer>>;
  return new Response(body, { status, statusText: incoming.statusMessage ?? "", headers });
}
