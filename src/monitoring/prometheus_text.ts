export type Labels = Readonly<Record<string, string>>;
export type MetricType = "counter" | "gauge" | "histogram";

/** Counts values by upper bounds, as Prometheus and OpenTelemetry do. */
export class Histogram {
  readonly bounds: readonly number[];
  /** How many values are at most each bound and above the one before it; the last is for those above all. */
  readonly counts: number[];
  sum = 0;

  /** @param bounds upper bounds, rising. */
  constructor(bounds: readonly number[]) {
    this.bounds = bounds;
    this.counts = new Array<number>(bounds.length + 1).fill(0);
  }

  record(value: number): void {
    let bucket = 0;
    while (bucket < this.bounds.length && value > this.bounds[bucket]!) bucket++;
    this.counts[bucket]!++;
    this.sum += value;
  }
}

/**
 * Writes metrics as text.
 * @see https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format (version 0.0.4)
 */
export class PrometheusText {
  readonly #lines: string[] = [];

  /** Begins a metric; its samples follow. */
  metric(name: string, type: MetricType, help: string): this {
    this.#lines.push(
      `# HELP ${name} ${help.replaceAll("\\", "\\\\").replaceAll("\n", "\\n")}`,
      `# TYPE ${name} ${type}`,
    );
    return this;
  }

  sample(name: string, value: number, labels: Labels = {}): this {
    this.#lines.push(`${name}${formatLabels(labels)} ${formatValue(value)}`);
    return this;
  }

  histogram(name: string, histogram: Histogram, labels: Labels = {}): this {
    let below = 0;
    histogram.counts.forEach((count, index) => {
      below += count;
      this.sample(`${name}_bucket`, below, { ...labels, le: formatValue(histogram.bounds[index] ?? Infinity) });
    });
    return this.sample(`${name}_sum`, histogram.sum, labels).sample(`${name}_count`, below, labels);
  }

  toString(): string {
    return this.#lines.length === 0 ? "" : `${this.#lines.join("\n")}\n`;
  }
}

function formatLabels(labels: Labels): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${escape(value)}"`);
  return pairs.length === 0 ? "" : `{${pairs.join(",")}}`;
}

function escape(value: string): string {
  return value.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
}

function formatValue(value: number): string {
  if (value === Infinity) return "+Inf";
  return value === -Infinity ? "-Inf" : String(value);
}
