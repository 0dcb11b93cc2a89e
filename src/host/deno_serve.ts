import type { Host } from "../core/host.ts";
import { Deno } from "./deno_shapes.ts";
import { defaultHostname, guarded, listenFailure } from "./http_failures.ts";

/** @see Host.serve */
export const serve: Host["serve"] = async (options, handler) => {
  const abort = new AbortController();
  const address = options.path === undefined
    ? { hostname: options.hostname ?? defaultHostname, port: options.port ?? 0 }
    : { path: options.path };
  const settings = { ...address, signal: abort.signal, automaticCompression: false, onListen() {} };
  let server;
  try {
    server = Deno.serve(settings, guarded(handler));
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
