/** Monitoring: spans and metrics through OpenTelemetry, and Prometheus' `/metrics`. */
import type { Monitor } from "../core/monitor.ts";
import type { Plugin } from "../core/plugin.ts";
import { OpenTelemetryMonitor } from "./monitor.ts";

/** The plugin `monitor/opentelemetry`. It is configured by OpenTelemetry's own environment variables. */
export const monitor: Plugin<Monitor> = {
  kind: "monitor",
  id: "opentelemetry",
  contract: 1,
  create: ({ host }) => OpenTelemetryMonitor.start({ env: host.env, host: `${host.name} ${host.version}` }),
};
