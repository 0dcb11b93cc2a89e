import { Histogram, type Labels, type PrometheusText } from "./prometheus_text.ts";
import { durationBounds } from "./function_metrics.ts";

/** Durations by labels whose values come from this program, so that there are few of them. */
export class LabelledHistograms<Label extends string> {
  readonly #name: string;
  readonly #help: string;
  readonly #series = new Map<string, { readonly labels: Labels; readonly histogram: Histogram }>();

  constructor(name: string, help: string) {
    this.#name = name;
    this.#help = help;
  }

  record(durationMs: number, labels: Readonly<Record<Label, string>>): void {
    const key = Object.values(labels).join("\0");
    let series = this.#series.get(key);
    if (series === undefined) this.#series.set(key, series = { labels, histogram: new Histogram(durationBounds) });
    series.histogram.record(durationMs / 1000);
  }

  write(text: PrometheusText): void {
    text.metric(this.#name, "histogram", this.#help);
    for (const { labels, histogram } of this.#series.values()) text.histogram(this.#name, histogram, labels);
  }
}
