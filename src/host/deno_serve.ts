import type { Host } from "../core/host.ts";
import { Deno, type ServeInfo } from "./deno_shapes.ts";
import { defaultHostname, guarded, listenFailure } from "./http_failures.ts";

/** @see Host.serve */
export const serve: Host["serve"] = async (options, handler) => {
  const abort = new AbortController();
  const address = options.path === undefined
    ? { hostname: options.hostname ?? defaultHostname, port: options.port ?? 0 }
    : { path: options.path };
  const settings = { ...address, signal: abort.signal, automaticCompression: false, onListen() {} };
  const answer = guarded(handler);
  let server;
  try {
    server = Deno.serve(settings, (request, info) => answered(request, info, answer));
  } catch (error) {
    throw listenFailure(options, error);
  }
  return {
    port: server.addr.port,
    async close({ force } = {}) {
      if (force) abort.abort();
      else await server.shutdown();
      await server.finished;
    },
  };
};

/**
 * Mends what differs from the other hosts: over a Unix socket Deno calls the scheme `http+unix`, and it aborts a request's
 * signal after a good end too.
 */
async function answered(
  request: Request,
  info: ServeInfo,
  answer: (request: Request) => Promise<Response>,
): Promise<Response> {
  const gone = new AbortController();
  const abort = () => gone.abort(new DOMException("the client has gone", "AbortError"));
  info.completed.catch(abort);
  const signal = request.signal;
  signal.addEventListener("abort", abort);
  const response = await answer(Object.defineProperties(request, {
    signal: { value: gone.signal },
    url: { value: request.url.replace(/^http\+unix:/, "http:") },
  }));
  // From here on `completed` tells how it ends, and the signal does not.
  signal.removeEventListener("abort", abort);
  return response;
}
