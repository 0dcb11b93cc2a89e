import process from "node:process";
import type { PrometheusText } from "./prometheus_text.ts";

const startSeconds = performance.timeOrigin / 1000;

/** Processor time of this process. */
export function cpuSeconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}

export function residentBytes(): number {
  return process.memoryUsage().rss;
}

/** Writes what Prometheus' own client libraries tell of a process. */
export function writeProcessMetrics(text: PrometheusText): void {
  text
    .metric("process_resident_memory_bytes", "gauge", "Resident memory of the daemon.")
    .sample("process_resident_memory_bytes", residentBytes())
    .metric("process_cpu_seconds_total", "counter", "Processor time of the daemon.")
    .sample("process_cpu_seconds_total", cpuSeconds())
    .metric("process_start_time_seconds", "gauge", "When the daemon was started, in seconds since 1970.")
    .sample("process_start_time_seconds", startSeconds);
}
