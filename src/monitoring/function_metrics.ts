import type { InvocationMeasure, StartKind } from "../core/monitor.ts";
import { Histogram, type Labels, type PrometheusText } from "./prometheus_text.ts";

/** Upper bounds in seconds, those of OpenTelemetry's conventions with finer ones below. */
export const durationBounds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];

/** The numbers of one function. */
class FunctionNumbers {
  readonly labels: Labels;
  readonly outcomes = new Map<InvocationMeasure["outcome"], number>();
  readonly duration = new Histogram(durationBounds);
  readonly start = new Histogram(durationBounds);
  readonly starts = new Map<StartKind, number>();
  cpuMicros = 0;
  memoryPeakBytes = 0;
  ioReadBytes = 0;
  ioWriteBytes = 0;
  networkReceivedBytes = 0;
  networkSentBytes = 0;

  constructor(labels: Labels) {
    this.labels = labels;
  }

  add(measure: InvocationMeasure): void {
    this.outcomes.set(measure.outcome, (this.outcomes.get(measure.outcome) ?? 0) + 1);
    // What was refused never ran: its time would only hide that of the others.
    if (measure.outcome === "rejected") return;
    this.duration.record(measure.durationMs / 1000);
    if (measure.startMs !== undefined) this.start.record(measure.startMs / 1000);
    if (measure.start !== undefined) this.starts.set(measure.start, (this.starts.get(measure.start) ?? 0) + 1);
    this.cpuMicros += measure.cpuMicros ?? 0;
    this.memoryPeakBytes = Math.max(this.memoryPeakBytes, measure.memoryPeakBytes ?? 0);
    this.ioReadBytes += measure.ioReadBytes ?? 0;
    this.ioWriteBytes += measure.ioWriteBytes ?? 0;
    this.networkReceivedBytes += measure.networkReceivedBytes ?? 0;
    this.networkSentBytes += measure.networkSentBytes ?? 0;
  }
}

interface Counted {
  readonly name: string;
  readonly type: "counter" | "gauge";
  readonly help: string;
  readonly value: (numbers: FunctionNumbers) => number;
}

const counted: readonly Counted[] = [
  {
    name: "mayfly_cold_starts_total",
    type: "counter",
    help: "Invocations that waited for a container to be made.",
    value: (numbers) => numbers.starts.get("cold") ?? 0,
  },
  {
    name: "mayfly_container_cpu_seconds_total",
    type: "counter",
    help: "Processor time of ended containers.",
    value: (numbers) => numbers.cpuMicros / 1e6,
  },
  {
    name: "mayfly_container_memory_peak_bytes",
    type: "gauge",
    help: "The most memory that one container has used since the daemon's start.",
    value: (numbers) => numbers.memoryPeakBytes,
  },
  {
    name: "mayfly_container_io_read_bytes_total",
    type: "counter",
    help: "Bytes that ended containers read from block devices.",
    value: (numbers) => numbers.ioReadBytes,
  },
  {
    name: "mayfly_container_io_written_bytes_total",
    type: "counter",
    help: "Bytes that ended containers wrote to block devices.",
    value: (numbers) => numbers.ioWriteBytes,
  },
  {
    name: "mayfly_container_network_received_bytes_total",
    type: "counter",
    help: "Bytes that ended containers received.",
    value: (numbers) => numbers.networkReceivedBytes,
  },
  {
    name: "mayfly_container_network_sent_bytes_total",
    type: "counter",
    help: "Bytes that ended containers sent.",
    value: (numbers) => numbers.networkSentBytes,
  },
];

/** What Prometheus is told of functions: some numbers each, kept from the daemon's start on. */
export class FunctionMetrics {
  readonly #functions = new Map<string, FunctionNumbers>();
  readonly #limit: number;

  /** @param limit how many functions have numbers of their own; those after share the label `_other`. */
  constructor(limit = 2000) {
    this.#limit = limit;
  }

  add(measure: InvocationMeasure): void {
    // Names are DNS labels, so a slash keeps the two apart.
    const known = this.#functions.get(`${measure.namespace}/${measure.function}`);
    (known ?? this.#start(measure.namespace, measure.function)).add(measure);
  }

  write(text: PrometheusText): void {
    const functions = [...this.#functions.values()];
    text.metric("mayfly_invocations_total", "counter", "Ended and refused invocations by outcome.");
    for (const { labels, outcomes } of functions) {
      for (const [outcome, count] of outcomes) text.sample("mayfly_invocations_total", count, { ...labels, outcome });
    }
    text.metric("mayfly_starts_total", "counter", "Invocations by how their container was there.");
    for (const { labels, starts } of functions) {
      for (const [start, count] of starts) text.sample("mayfly_starts_total", count, { ...labels, start });
    }
    text.metric(
      "mayfly_invocation_duration_seconds",
      "histogram",
      "Time from the request to the end of its container.",
    );
    for (const { labels, duration } of functions) {
      text.histogram("mayfly_invocation_duration_seconds", duration, labels);
    }
    text.metric("mayfly_start_duration_seconds", "histogram", "Time from the request to the start of its process.");
    for (const { labels, start } of functions) text.histogram("mayfly_start_duration_seconds", start, labels);
    for (const { name, type, help, value } of counted) {
      text.metric(name, type, help);
      for (const numbers of functions) text.sample(name, value(numbers), numbers.labels);
    }
  }

  #start(namespace: string, name: string): FunctionNumbers {
    const full = this.#functions.size >= this.#limit;
    const labels = full ? { namespace: "_other", function: "_other" } : { namespace, function: name };
    const key = `${labels.namespace}/${labels.function}`;
    const numbers = this.#functions.get(key) ?? new FunctionNumbers(labels);
    this.#functions.set(key, numbers);
    return numbers;
  }
}
