import type { TraceContext } from "../core/monitor.ts";

/** The parts of a `traceparent` header. */
export interface TraceParent {
  /** 32 lower-case hex digits, not all zero. */
  readonly traceId: string;
  /** 16 lower-case hex digits, not all zero. */
  readonly spanId: string;
  /** 8 bits; bit 0 says that the trace is recorded. */
  readonly flags: number;
}

const form = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/;
const maxStateLength = 512;
const maxStateMembers = 32;

/**
 * Parses a `traceparent` header.
 * @returns undefined for one that is not valid, which the specification wants ignored. What a version after 00 adds at the
 * end is left out.
 * @see https://www.w3.org/TR/trace-context/#traceparent-header
 */
export function parseTraceparent(header: string): TraceParent | undefined {
  const [, version, traceId = "", spanId = "", flags = "", rest] = form.exec(header.trim()) ?? [];
  if (version === undefined || version === "ff" || (version === "00" && rest !== undefined)) return undefined;
  if (/^0+$/.test(traceId) || /^0+$/.test(spanId)) return undefined;
  return { traceId, spanId, flags: Number.parseInt(flags, 16) };
}

export function formatTraceparent({ traceId, spanId, flags }: TraceParent): string {
  return `00-${traceId}-${spanId}-${flags.toString(16).padStart(2, "0")}`;
}

/**
 * What may be handed on of a context from outside; undefined where its `traceparent` is not valid.
 * @see https://www.w3.org/TR/trace-context/#tracestate-header
 */
export function validContext(context: TraceContext): TraceContext | undefined {
  const parent = parseTraceparent(context.traceparent);
  if (parent === undefined) return undefined;
  const { tracestate } = context;
  const stateIsValid = tracestate !== undefined && tracestate.length <= maxStateLength &&
    tracestate.split(",").length <= maxStateMembers && /^[\x20-\x7e]+$/.test(tracestate);
  return { traceparent: formatTraceparent(parent), ...(stateIsValid ? { tracestate } : {}) };
}
