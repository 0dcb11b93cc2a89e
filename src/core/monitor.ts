/** What the daemon tells the outside about itself. Nothing is paid for a part that is off. */
export interface Monitor {
  /** Starts a span; who starts it ends it. */
  span(name: string, options?: SpanOptions): Span;
  /** Counts and times one ended invocation. */
  invocation(record: InvocationMeasure): void;
  /** Counts and times one answered HTTP request, whatever became of it. */
  request(measure: RequestMeasure): void;
  /** Counts and times one ended operation on images and functions. */
  operation(measure: OperationMeasure): void;
  /** Adds a number that is read whenever somebody asks. Returns the way to take it out. @throws already_exists. */
  gauge(gauge: Gauge): () => void;
  /** The metrics in Prometheus' text format 0.0.4. */
  prometheus(): Promise<string>;
  /** Sends what is waiting and stops. */
  shutdown(): Promise<void>;
}

/** A number that is read when somebody asks. */
export interface Gauge {
  /** As Prometheus names metrics: `mayfly_running_invocations`. */
  readonly name: string;
  /** One sentence. */
  readonly help: string;
  readonly read: () => number;
}

export type Attributes = Readonly<Record<string, string | number | boolean | readonly string[] | undefined>>;

/** How a span begins. */
export interface SpanOptions {
  readonly kind?: "internal" | "server" | "client";
  /** A span, or the trace context that came from outside. */
  readonly parent?: Span | TraceContext | undefined;
  readonly attributes?: Attributes;
  /** Epoch milliseconds with fraction, where it began before this call. */
  readonly startMs?: number;
}

/** For what is done on somebody's behalf: whose span or trace it belongs below. */
export type Traced = Pick<SpanOptions, "parent">;

/** W3C Trace Context. @see https://www.w3.org/TR/trace-context/ */
export interface TraceContext {
  readonly traceparent: string;
  readonly tracestate?: string | undefined;
}

/** One timed step. */
export interface Span {
  /** The context to hand on; undefined where nothing is traced and none came from outside. */
  readonly context: TraceContext | undefined;
  set(attributes: Attributes): void;
  rename(name: string): void;
  /** @param error marks the span as failed. @param endMs epoch milliseconds; default now. */
  end(error?: unknown, endMs?: number): void;
}

/**
 * How an invocation's container was there: made for it; prepared, with its command still to be executed; frozen, and thawed
 * for it; running.
 */
export const startKinds = ["cold", "prepared", "frozen", "warm"] as const;
export type StartKind = (typeof startKinds)[number];

/** The numbers of one ended, or refused, invocation. */
export interface InvocationMeasure {
  readonly namespace: string;
  readonly function: string;
  readonly outcome: "ok" | "failed" | "timeout" | "oom" | "rejected" | "cancelled" | "error";
  readonly durationMs: number;
  /** Time until the container's process was executed. */
  readonly startMs: number | undefined;
  /** Undefined for what was refused. */
  readonly start: StartKind | undefined;
  readonly cpuMicros: number | undefined;
  readonly memoryPeakBytes: number | undefined;
  readonly ioReadBytes: number | undefined;
  readonly ioWriteBytes: number | undefined;
  readonly networkReceivedBytes: number | undefined;
  readonly networkSentBytes: number | undefined;
}

/** The numbers of one answered HTTP request. */
export interface RequestMeasure {
  readonly method: string;
  /** The route's pattern, as `/fn/{name}`; undefined where none fits. */
  readonly route: string | undefined;
  readonly status: number;
  /** Time until the answer's head was there. */
  readonly durationMs: number;
}

/** What is done on the way to an invocation, seldom and slowly. */
export type Operation = "pull" | "push" | "import" | "export" | "unpack" | "commit" | "deploy";

/** The numbers of one ended operation. */
export interface OperationMeasure {
  readonly operation: Operation;
  /** The code of its failure; undefined where it succeeded. */
  readonly errorType: string | undefined;
  readonly durationMs: number;
}
