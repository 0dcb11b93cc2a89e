import { metrics, trace } from "@opentelemetry/api";
import { Failure } from "../core/errors.ts";
import type {
  Gauge,
  InvocationMeasure,
  Monitor,
  OperationMeasure,
  RequestMeasure,
  Span,
  SpanOptions,
} from "../core/monitor.ts";
import { version } from "../version.ts";
import { FunctionMetrics } from "./function_metrics.ts";
import { type Instruments, instruments } from "./instruments.ts";
import { LabelledHistograms } from "./labelled_histograms.ts";
import { writeProcessMetrics } from "./process_metrics.ts";
import { PrometheusText } from "./prometheus_text.ts";
import { type Environment, type Sdk, startSdk } from "./sdk.ts";
import { spansOf, startSilentSpan, type StartSpan } from "./tracing.ts";

/** Metrics for Prometheus always; spans and metrics to OpenTelemetry where the environment names an endpoint. */
export class OpenTelemetryMonitor implements Monitor, AsyncDisposable {
  readonly #sdk: Sdk | undefined;
  readonly #start: StartSpan;
  readonly #instruments: Instruments | undefined;
  readonly #functions = new FunctionMetrics();
  readonly #requests = new LabelledHistograms<"method" | "route" | "status">(
    "mayfly_http_request_duration_seconds",
    "Time from an HTTP request to the head of its answer.",
  );
  readonly #operations = new LabelledHistograms<"operation" | "error">(
    "mayfly_operation_duration_seconds",
    "Time of pulls, imports, unpacks, deployments and the like; error is empty where they succeeded.",
  );
  readonly #gauges = new Map<string, Gauge>();
  readonly #host: string;
  #ended: Promise<void> | undefined;

  private constructor(sdk: Sdk | undefined, host: string) {
    this.#sdk = sdk;
    this.#host = host;
    this.#start = sdk?.traces ? spansOf(trace.getTracer("mayfly", version)) : startSilentSpan;
    this.#instruments = sdk?.metrics ? instruments(metrics.getMeter("mayfly", version)) : undefined;
  }

  /**
   * @param options.env where `OTEL_*` is read.
   * @param options.host what the process runs on, for `mayfly_info`.
   */
  static async start(
    { env, host }: { readonly env: Environment; readonly host: string },
  ): Promise<OpenTelemetryMonitor> {
    return new OpenTelemetryMonitor(await startSdk(env), host);
  }

  span(name: string, options?: SpanOptions): Span {
    return this.#start(name, options);
  }

  invocation(measure: InvocationMeasure): void {
    this.#functions.add(measure);
    this.#instruments?.invocation(measure);
  }

  request(measure: RequestMeasure): void {
    const { method, route, status, durationMs } = measure;
    this.#requests.record(durationMs, { method, route: route ?? "", status: String(status) });
    this.#instruments?.request(measure);
  }

  operation(measure: OperationMeasure): void {
    const { operation, errorType, durationMs } = measure;
    this.#operations.record(durationMs, { operation, error: errorType ?? "" });
    this.#instruments?.operation(measure);
  }

  gauge(gauge: Gauge): () => void {
    if (this.#gauges.has(gauge.name)) {
      throw new Failure("already_exists", `cannot add gauge ${JSON.stringify(gauge.name)}: there is one of this name`);
    }
    this.#gauges.set(gauge.name, gauge);
    const remove = this.#instruments?.gauge(gauge);
    return () => {
      remove?.();
      this.#gauges.delete(gauge.name);
    };
  }

  prometheus(): Promise<string> {
    const text = new PrometheusText();
    text.metric("mayfly_info", "gauge", "The program's version and what it runs on.")
      .sample("mayfly_info", 1, { version, host: this.#host });
    this.#functions.write(text);
    this.#requests.write(text);
    this.#operations.write(text);
    for (const { name, help, read } of this.#gauges.values()) text.metric(name, "gauge", help).sample(name, read());
    writeProcessMetrics(text);
    return Promise.resolve(text.toString());
  }

  shutdown(): Promise<void> {
    return this.#ended ??= this.#sdk?.shutdown() ?? Promise.resolve();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.shutdown();
  }
}
