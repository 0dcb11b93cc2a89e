import { type Failure, messageOf } from "../core/errors.ts";
import type { Invocation } from "../core/invocation.ts";
import type { FunctionRecord } from "../core/function.ts";
import type { InvocationMeasure, Monitor, Span, StartKind } from "../core/monitor.ts";
import { revisionName } from "../core/revision.ts";
import type { Exit } from "../core/task.ts";
import { reasonOf, statusOf } from "./failures.ts";
import type { Phases } from "./phases.ts";
import type { Recipe } from "./recipe.ts";
import type { InvocationRequest } from "./request.ts";
import type { Tail } from "./tail.ts";
import type { YoungInvocations } from "./young_invocations.ts";

/** What an invocation is of. */
export interface RunOptions {
  readonly id: string;
  readonly record: FunctionRecord;
  readonly recipe: Recipe;
  readonly request: InvocationRequest;
  readonly monitor: Monitor;
  readonly young: YoungInvocations;
}

/** What is known of an invocation while it runs and when it has ended. */
export interface Progress {
  readonly options: RunOptions;
  readonly phases: Phases;
  readonly span: Span;
  readonly task: { readonly id: string } | undefined;
  readonly stderr: Tail;
  readonly input: { readonly bytes: number } | undefined;
  readonly output: { readonly bytes: number } | undefined;
  readonly exit: Exit | undefined;
  readonly startMs: number | undefined;
  /** Undefined until the outcome is known. */
  readonly durationMs: number | undefined;
  readonly failure: Failure | undefined;
  readonly start: StartKind;
}

/**
 * Says of a request's span which invocation it has become.
 * @see https://opentelemetry.io/docs/specs/semconv/faas/faas-spans/
 * @see https://opentelemetry.io/docs/specs/semconv/registry/attributes/container/
 */
export function describeSpan({ id, record, recipe, request }: RunOptions): Span {
  const { span } = request;
  if (span.context === undefined) return span;
  span.rename(record.name);
  span.set({
    "faas.name": record.name,
    "faas.version": revisionName(record.name, record.revision),
    "faas.trigger": "http",
    "faas.invocation.id": id,
    "faas.max_memory": record.memoryBytes,
    "mayfly.namespace": record.namespace,
    "container.image.name": record.image,
    "container.runtime.name": recipe.runtime.id,
    "oci.manifest.digest": record.digest,
  });
  return span;
}

/** The record of an invocation. */
export function describe(run: Progress): Invocation {
  const { id, record } = run.options;
  const { exit, failure } = run;
  const exitCode = failure?.details?.["exitCode"];
  return {
    id,
    namespace: record.namespace,
    function: record.name,
    revision: record.revision,
    status: run.durationMs === undefined ? "running" : statusOf(failure),
    startedAt: new Date(run.phases.startedMs),
    durationMs: run.durationMs,
    exitCode: exit?.code ?? (typeof exitCode === "number" ? exitCode : undefined),
    error: failure === undefined ? undefined : errorText(failure),
    stderr: run.stderr.text(),
    cpuMicros: exit?.usage.cpuMicros,
    memoryPeakBytes: exit?.usage.memoryPeakBytes,
    requestBytes: run.input?.bytes ?? 0,
    responseBytes: run.output?.bytes ?? 0,
    traceId: run.span.context?.traceparent.split("-")[1],
    phases: run.phases.list,
  };
}

/** The record is the function's owner's: it says what a caller is not told. */
function errorText(failure: Failure): string {
  const reason = reasonOf(failure);
  const hidden = reason === "start_failed" || reason === "no_capacity";
  return hidden && failure.cause !== undefined ? messageOf(failure.cause) : failure.message;
}

const outcomes = {
  running: "error",
  succeeded: "ok",
  failed: "failed",
  timeout: "timeout",
  oom: "oom",
  cancelled: "cancelled",
  error: "error",
} as const satisfies Record<Invocation["status"], InvocationMeasure["outcome"]>;

/** Ends the span, with one below it for each phase, and counts the invocation. */
export function measure(run: Progress): void {
  const { monitor, record } = run.options;
  const { exit, failure, phases, span } = run;
  if (span.context !== undefined) {
    for (const { name, startMs, durationMs } of phases.list) {
      const begin = phases.startedMs + startMs;
      monitor.span(name, { parent: span, startMs: begin }).end(undefined, begin + durationMs);
    }
    span.set({
      "process.exit.code": exit?.code,
      "faas.coldstart": run.start === "cold",
      "mayfly.start": run.start,
      "container.id": run.task?.id ?? run.options.id,
    });
  }
  span.end(failure);
  monitor.invocation({
    namespace: record.namespace,
    function: record.name,
    outcome: outcomes[statusOf(failure)],
    durationMs: run.durationMs ?? phases.elapsedMs,
    startMs: run.startMs,
    start: run.start,
    cpuMicros: exit?.usage.cpuMicros,
    memoryPeakBytes: exit?.usage.memoryPeakBytes,
    ioReadBytes: exit?.usage.ioReadBytes,
    ioWriteBytes: exit?.usage.ioWriteBytes,
    networkReceivedBytes: exit?.usage.networkReceivedBytes,
    networkSentBytes: exit?.usage.networkSentBytes,
  });
}
