import type { Host } from "../core/host.ts";

/** @see Host.connectWebSocket */
export const connectWebSocket: Host["connectWebSocket"] = async (options) => {
  // Loaded by the few commands that need it.
  return await (await import("./ws_connection.ts")).connectWebSocket(options);
};
