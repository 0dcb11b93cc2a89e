import { codeOf } from "../core/errors.ts";
import type { Attributes, Monitor, Operation, Span, SpanOptions } from "../core/monitor.ts";

/** How an operation appears to the outside. */
export interface ObserveOptions {
  readonly operation: Operation;
  readonly parent?: SpanOptions["parent"];
  readonly attributes?: Attributes;
}

/**
 * Does one operation, with a span of its name and the count and time of it.
 * @param work gets the span, below which its steps belong.
 */
export async function observed<T>(
  monitor: Monitor | undefined,
  { operation, parent, attributes }: ObserveOptions,
  work: (span: Span | undefined) => Promise<T>,
): Promise<T> {
  if (monitor === undefined) return await work(undefined);
  const begin = performance.now();
  let error: unknown;
  const span = monitor.span(operation, { parent, ...(attributes && { attributes }) });
  try {
    return await work(span);
  } catch (cause) {
    error = cause;
    throw cause;
  } finally {
    span.end(error);
    const errorType = error === undefined ? undefined : codeOf(error);
    monitor.operation({ operation, errorType, durationMs: performance.now() - begin });
  }
}

/** Does one step of an operation, with a span below it. */
export async function step<T>(
  monitor: Monitor | undefined,
  name: string,
  { parent, attributes }: Pick<ObserveOptions, "parent" | "attributes">,
  work: () => Promise<T>,
): Promise<T> {
  if (monitor === undefined) return await work();
  const span = monitor.span(name, { parent, ...(attributes && { attributes }) });
  try {
    const result = await work();
    span.end();
    return result;
  } catch (error) {
    span.end(error);
    throw error;
  }
}
