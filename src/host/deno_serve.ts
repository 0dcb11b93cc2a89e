import type { Host } from "../core/host.ts";
import { Deno } from "./deno_shapes.ts";

/** @see Host.serve */
export const serve: Host["serve"] = async (options, handler) => {
  const abort = new AbortController();
  const address = options.path === undefined
    ? { hostname: options.hostname ?? "127.0.0.1", port: options.port ?? 0 }
    : { path: options.path };
  const server = Deno.serve({ ...address, signal: abort.signal, automaticCompression: false, onListen() {} }, handler);
  return {
    port: server.addr.port,
    async close({ force } = {}) {
      if (force) abort.abort();
      else await server.shutdown();
      await server.finished;
    },
  };
};
