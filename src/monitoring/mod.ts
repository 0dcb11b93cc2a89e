/** Monitoring: spans and metrics through OpenTelemetry, and Prometheus' `/metrics`. */
import type { Monitor } from "../core/monitor.ts";
import { type Plugin, pluginContract } from "../core/plugin.ts";
import { OpenTelemetryMonitor } from "./monitor.ts";

/** The plugin `monitor/opentelemetry`. It is configured by OpenTelemetry's own environment variables. */
export const monitor: Plugin<Monitor> = {
  kind: "monitor",
  id: "opentelemetry",
  contract: pluginContract,
  create: ({ host }) => OpenTelemetryMonitor.start({ env: process.env, host: `${host.name} ${host.version}` }),
};

export { EventBus } from "./events.ts";
export { Log } from "./log.ts";
