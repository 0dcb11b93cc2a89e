import { getRequestListener } from "@hono/node-server";
import { createServer } from "node:http";
import type { Host } from "../core/host.ts";

/** @see Host.serve */
export const serve: Host["serve"] = async (options, handler) => {
  const server = createServer(getRequestListener(handler, { overrideGlobalObjects: false }));
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    if (options.path !== undefined) server.listen(options.path, resolve);
    else server.listen(options.port ?? 0, options.hostname ?? "127.0.0.1", resolve);
  });
  const address = server.address();
  return {
    port: address !== null && typeof address === "object" ? address.port : undefined,
    close: ({ force } = {}) =>
      new Promise((resolve) => {
        server.close(() => resolve());
        if (force) server.closeAllConnections();
        else server.closeIdleConnections();
      }),
  };
};
