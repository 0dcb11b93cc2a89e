import type { Host } from "../core/host.ts";
import { Bun, bunFetch } from "./bun_shapes.ts";

/** @see Host.readable */
export const readable: Host["readable"] = (fd) => Bun.file(fd).stream();

/** @see Host.fetchUnix */
export const fetchUnix: Host["fetchUnix"] = (path, request) => bunFetch(request, { unix: path });

/** @see Host.serve */
export const serve: Host["serve"] = async (options, handler) => {
  const common = { fetch: handler, idleTimeout: 0, maxRequestBodySize: Number.MAX_SAFE_INTEGER };
  const server = options.path === undefined
    ? Bun.serve({ ...common, hostname: options.hostname ?? "127.0.0.1", port: options.port ?? 0 })
    : Bun.serve({ fetch: handler, maxRequestBodySize: common.maxRequestBodySize, unix: options.path });
  return { port: server.port, close: ({ force } = {}) => server.stop(force ?? false) };
};
