import {
  type Attributes as ApiAttributes,
  createTraceState,
  ROOT_CONTEXT,
  type Span as ApiSpan,
  SpanKind,
  SpanStatusCode,
  trace,
  type Tracer,
} from "@opentelemetry/api";
import { codeOf, messageOf } from "../core/errors.ts";
import type { Attributes, Span, SpanOptions, TraceContext } from "../core/monitor.ts";
import { formatTraceparent, parseTraceparent, validContext } from "./trace_context.ts";

/** Starts spans, or hands on the trace context from outside where nothing is recorded. */
export type StartSpan = (name: string, options?: SpanOptions) => Span;

/** A span that records nothing. There is one for each trace that comes from outside, and one for all other requests. */
class SilentSpan implements Span {
  readonly context: TraceContext | undefined;

  constructor(context: TraceContext | undefined) {
    this.context = context;
  }

  set(): void {}
  rename(): void {}
  end(): void {}
}

const silent = new SilentSpan(undefined);

/** Tracing that is off: it makes no spans, and a trace that came from outside goes on below this program. */
export const startSilentSpan: StartSpan = (_name, { parent } = {}) => {
  if (parent === undefined) return silent;
  if (isSpan(parent)) return parent;
  const context = validContext(parent);
  return context === undefined ? silent : new SilentSpan(context);
};

/** A span of the OpenTelemetry SDK. */
class RecordedSpan implements Span {
  readonly api: ApiSpan;

  constructor(api: ApiSpan) {
    this.api = api;
  }

  get context(): TraceContext {
    const { traceId, spanId, traceFlags, traceState } = this.api.spanContext();
    const tracestate = traceState?.serialize();
    return {
      traceparent: formatTraceparent({ traceId, spanId, flags: traceFlags }),
      ...(tracestate && { tracestate }),
    };
  }

  set(attributes: Attributes): void {
    this.api.setAttributes(toApi(attributes));
  }

  rename(name: string): void {
    this.api.updateName(name);
  }

  // Starts are told to the microsecond: the SDK's own clock, of whole milliseconds, would end spans before them.
  end(error?: unknown, endMs: number = performance.timeOrigin + performance.now()): void {
    if (error !== undefined) {
      this.api.setAttribute("error.type", codeOf(error));
      this.api.setStatus({ code: SpanStatusCode.ERROR, message: messageOf(error) });
    }
    this.api.end(endMs);
  }
}

const kinds = {
  internal: SpanKind.INTERNAL,
  server: SpanKind.SERVER,
  client: SpanKind.CLIENT,
} as const satisfies Record<NonNullable<SpanOptions["kind"]>, SpanKind>;

/** Tracing that is on. Parents are always named, so that no asynchronous context has to be tracked. */
export function spansOf(tracer: Tracer): StartSpan {
  return (name, { kind = "internal", parent, attributes, startMs } = {}) =>
    new RecordedSpan(tracer.startSpan(name, {
      kind: kinds[kind],
      ...(attributes === undefined ? {} : { attributes: toApi(attributes) }),
      startTime: startMs ?? performance.timeOrigin + performance.now(),
    }, parentContext(parent)));
}

function parentContext(parent: SpanOptions["parent"]) {
  if (parent instanceof RecordedSpan) return trace.setSpan(ROOT_CONTEXT, parent.api);
  const outside = parent !== undefined && isSpan(parent) ? parent.context : parent;
  const context = outside && validContext(outside);
  const parsed = context && parseTraceparent(context.traceparent);
  if (parsed === undefined) return ROOT_CONTEXT;
  return trace.setSpanContext(ROOT_CONTEXT, {
    traceId: parsed.traceId,
    spanId: parsed.spanId,
    traceFlags: parsed.flags,
    isRemote: true,
    ...(context?.tracestate === undefined ? {} : { traceState: createTraceState(context.tracestate) }),
  });
}

function isSpan(parent: Span | TraceContext): parent is Span {
  return "end" in parent;
}

/** The API wants arrays that it could change. */
function toApi(attributes: Attributes): ApiAttributes {
  const converted: ApiAttributes = {};
  for (const [key, value] of Object.entries(attributes)) {
    converted[key] = typeof value === "object" ? [...value] : value;
  }
  return converted;
}
