import type { Attributes, Meter, ObservableResult } from "@opentelemetry/api";
import type { Gauge, InvocationMeasure, OperationMeasure, RequestMeasure } from "../core/monitor.ts";
import { durationBounds } from "./function_metrics.ts";
import { cpuSeconds, residentBytes } from "./process_metrics.ts";

const memoryBounds = [1, 4, 16, 64, 128, 256, 512, 1024, 4096, 16384].map((mebibytes) => mebibytes * 1024 * 1024);

/** What counts for OpenTelemetry. */
export interface Instruments {
  invocation(measure: InvocationMeasure): void;
  request(measure: RequestMeasure): void;
  operation(measure: OperationMeasure): void;
  /** @returns the way to take it out. */
  gauge(gauge: Gauge): () => void;
}

/**
 * What OpenTelemetry is told, by the names of its conventions; what they do not name begins with `mayfly.`. The numbers are
 * those that Prometheus reads.
 *
 * @see https://opentelemetry.io/docs/specs/semconv/http/http-metrics/
 * @see https://opentelemetry.io/docs/specs/semconv/faas/faas-metrics/
 * @see https://opentelemetry.io/docs/specs/semconv/system/container-metrics/
 */
export function instruments(meter: Meter): Instruments {
  const seconds = { unit: "s", advice: { explicitBucketBoundaries: durationBounds } };
  const bytes = { unit: "By", advice: { explicitBucketBoundaries: memoryBounds } };
  const faas = {
    invokeDuration: meter.createHistogram("faas.invoke_duration", seconds),
    initDuration: meter.createHistogram("faas.init_duration", seconds),
    coldStarts: meter.createCounter("faas.coldstarts", { unit: "{coldstart}" }),
    errors: meter.createCounter("faas.errors", { unit: "{error}" }),
    invocations: meter.createCounter("faas.invocations", { unit: "{invocation}" }),
    timeouts: meter.createCounter("faas.timeouts", { unit: "{timeout}" }),
    memory: meter.createHistogram("faas.mem_usage", bytes),
    cpu: meter.createHistogram("faas.cpu_usage", seconds),
    network: meter.createHistogram("faas.net_io", bytes),
  };
  const container = {
    cpuTime: meter.createCounter("container.cpu.time", { unit: "s" }),
    diskIo: meter.createCounter("container.disk.io", { unit: "By" }),
    networkIo: meter.createCounter("container.network.io", { unit: "By" }),
  };

  const requestDuration = meter.createHistogram("http.server.request.duration", seconds);
  const operationDuration = meter.createHistogram("mayfly.operation.duration", seconds);
  meter.createObservableCounter("process.cpu.time", { unit: "s" }).addCallback((result) =>
    result.observe(cpuSeconds())
  );
  meter.createObservableUpDownCounter("process.memory.usage", { unit: "By" })
    .addCallback((result) => result.observe(residentBytes()));

  const invocation = (measure: InvocationMeasure) => {
    const labels: Attributes = {
      "faas.name": measure.function,
      "faas.trigger": "http",
      "mayfly.namespace": measure.namespace,
    };
    if (measure.outcome === "rejected") return faas.errors.add(1, { ...labels, "error.type": measure.outcome });
    faas.invokeDuration.record(measure.durationMs / 1000, labels);
    if (measure.startMs !== undefined) faas.initDuration.record(measure.startMs / 1000, labels);
    if (measure.start === "cold") faas.coldStarts.add(1, labels);
    if (measure.outcome === "ok") faas.invocations.add(1, labels);
    else faas.errors.add(1, { ...labels, "error.type": measure.outcome });
    if (measure.outcome === "timeout") faas.timeouts.add(1, labels);
    if (measure.memoryPeakBytes !== undefined) faas.memory.record(measure.memoryPeakBytes, labels);
    if (measure.cpuMicros !== undefined) {
      faas.cpu.record(measure.cpuMicros / 1e6, labels);
      container.cpuTime.add(measure.cpuMicros / 1e6, labels);
    }
    const { ioReadBytes, ioWriteBytes, networkReceivedBytes, networkSentBytes } = measure;
    if (ioReadBytes) container.diskIo.add(ioReadBytes, { ...labels, "disk.io.direction": "read" });
    if (ioWriteBytes) container.diskIo.add(ioWriteBytes, { ...labels, "disk.io.direction": "write" });
    if (networkReceivedBytes) {
      container.networkIo.add(networkReceivedBytes, { ...labels, "network.io.direction": "receive" });
    }
    if (networkSentBytes) container.networkIo.add(networkSentBytes, { ...labels, "network.io.direction": "transmit" });
    if (networkReceivedBytes !== undefined || networkSentBytes !== undefined) {
      faas.network.record((networkReceivedBytes ?? 0) + (networkSentBytes ?? 0), labels);
    }
  };

  return {
    invocation,
    request: ({ method, route, status, durationMs }) =>
      requestDuration.record(durationMs / 1000, {
        "http.request.method": method,
        "http.response.status_code": status,
        "url.scheme": "http",
        ...(route === undefined ? {} : { "http.route": route }),
        ...(status < 500 ? {} : { "error.type": String(status) }),
      }),
    operation: ({ operation, errorType, durationMs }) =>
      operationDuration.record(durationMs / 1000, {
        "mayfly.operation.name": operation,
        ...(errorType === undefined ? {} : { "error.type": errorType }),
      }),
    gauge({ name, help, read }) {
      const instrument = meter.createObservableGauge(name.replace("_", "."), { description: help });
      const callback = (result: ObservableResult) => result.observe(read());
      instrument.addCallback(callback);
      return () => instrument.removeCallback(callback);
    },
  };
}
